"""Finds every difference between the windows that must be and those that are, cell by cell."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from nilo_schemas.catalogue import Catalogue, Metric
from tests.chaos.expected import Window, WindowKey, lengths_of
from tests.chaos.reading import Values

QUANTILE_ERROR = 0.011
ROUNDING = 1e-12


def differences(
    expected: Mapping[WindowKey, Window], observed: Mapping[WindowKey, Values], catalogue: Catalogue
) -> list[str]:
    """One line for each cell that differs, each missing window and each that should not be.

    Windows of lengths that the reference does not make (hopping, sessions) are left out.
    """
    found: list[str] = []
    for key in sorted({*expected, *observed}):
        metric = catalogue.metrics[key.metric]
        if key.length not in lengths_of(metric):
            continue
        cells = _cells(expected.get(key), observed.get(key), metric)
        found += [f"{_name(key)}: {cell}" for cell in cells]
    return found


def _name(key: WindowKey) -> str:
    labels = ",".join(f"{name}={value}" for name, value in key.dimensions)
    return f"{key.metric} {key.length} at {key.start // 1_000_000} {{{labels}}}"


def _cells(window: Window | None, seen: Values | None, metric: Metric) -> Iterator[str]:
    if seen is None:
        yield f"no final window; count should be {window.count if window else 0}"
    elif window is None:
        yield f"should not be; count is {seen['count']}"
    else:
        yield from _numbers(window, seen, metric)
        yield from _quantiles(window, seen, metric)
        yield from _sources(window, seen)


def _numbers(window: Window, seen: Values, metric: Metric) -> Iterator[str]:
    for name, want in (("count", window.count), ("errors", window.errors)):
        if seen[name] != want:
            yield f"{name} is {seen[name]}, not {want}"
    scale = metric.value_scale()
    if window.values:
        total = window.total()
        wants = {"sum": total, "min": min(window.values), "max": max(window.values)}
        for name in sorted(wants.keys() & set(metric.aggregates)):
            # In whole small parts of the unit: exact, however the float was made.
            if seen[name] is None or round(seen[name] * scale) != wants[name]:
                yield f"{name} is {seen[name]}, not {wants[name]} / {scale}"
        if "mean" in metric.aggregates:
            yield from _close("mean", seen["mean"], total / scale / window.count)
    yield from _close("error_ratio", seen["error_ratio"], window.errors / window.count)
    seconds = (seen["window_end"] - seen["window_start"]).total_seconds()
    yield from _close("rate", seen["rate"], window.count / seconds)


def _close(name: str, value: float | None, want: float, error: float = ROUNDING) -> Iterator[str]:
    if value is None or abs(value - want) > error * abs(want):
        yield f"{name} is {value}, not {want}"


def _quantiles(window: Window, seen: Values, metric: Metric) -> Iterator[str]:
    if "quantiles" not in metric.aggregates:
        return
    for share in metric.quantiles:
        want, name = window.quantile(share) / metric.value_scale(), f"p{share * 100:g}"
        yield from _close(name, seen["quantiles"].get(name), want, QUANTILE_ERROR)


def _sources(window: Window, seen: Values) -> Iterator[str]:
    found = {s["partition"]: [s["first_offset"], s["last_offset"]] for s in seen["sources"]}
    if found != window.sources:
        yield f"sources are {found}, not {window.sources}"
