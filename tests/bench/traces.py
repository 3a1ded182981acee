"""Recorded traces through the pure engine and its rules: how many alerts, and the largest ones.

`python -m tests.bench.traces`; the files lie in shared/data beside the checkout. The rules are
those of the shipped catalogue, and beside them those of `catalogues/traces`.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from nilo_schemas.catalogue_files import load_catalogue
from nilo_schemas.errors import NiloError
from tests.bench.trace_alerts import figures, largest, told
from tests.bench.trace_engine import detect
from tests.bench.trace_events import TRACES, batches

RULES = Path(__file__).with_name("catalogues") / "traces"
TOP = 10
_NUMBERS = ("events", "late", "windows", "series", "series_days", "transitions", "episodes")


def main() -> int:
    """Run the traces and print what came of them; 1 when a file is not there."""
    parser = argparse.ArgumentParser(description="recorded traces through the rules")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.add_argument("--top", type=int, default=TOP, help=f"episodes shown; default: {TOP}")
    parser.add_argument("traces", nargs="*", help=f"of {', '.join(TRACES)}; default: all")
    given = parser.parse_args()
    unknown = sorted(set(given.traces) - set(TRACES))
    if unknown:
        parser.error(f"no trace {unknown[0]!r}; there are {', '.join(TRACES)}")
    try:
        report = measure(given.traces or list(TRACES), given.top)
    except NiloError as error:
        print(f"bench traces: {error}", file=sys.stderr)
        return 1
    print(json.dumps(report) if given.json else "\n".join(_lines(report)))
    return 0


def measure(names: list[str], top: int) -> dict[str, Any]:
    """Figures by trace, and the largest episodes of all of them.

    Raises:
        NiloError: a file is not there or not what its mapping says.
    """
    catalogue, found, seconds = load_catalogue(RULES), {}, {}
    for name in names:
        begin = time.perf_counter()
        trace = TRACES[name]
        found[name] = detect(catalogue, trace.family().kafka_topic, batches(trace))
        seconds[name] = round(time.perf_counter() - begin, 1)
    return {
        "bench": "traces",
        "traces": {
            name: {**figures(each, catalogue), "seconds": seconds[name]}
            for name, each in found.items()
        },
        "top": [told(name, alerts, found[name], catalogue) for name, alerts in largest(found, top)],
    }


def _lines(report: dict[str, Any]) -> list[str]:
    lines = [f"{'trace':<8}" + "".join(f"{name:>13}" for name in _NUMBERS)]
    for trace, each in report["traces"].items():
        lines.append(f"{trace:<8}" + "".join(f"{each[name]:>13,}" for name in _NUMBERS))
    for trace, each in report["traces"].items():
        lines.append(f"\n{trace}: episodes, series-days, episodes per series-day")
        for rule, one in each["rules"].items():
            told = f"{one['episodes']:>7,}{one['series_days']:>8,}{one['per_series_day']:>9}"
            lines.append(f"  {rule:<26}{told}")
    for place, one in enumerate(report["top"], 1):
        labels = ", ".join(f"{name}={value}" for name, value in one["labels"].items())
        others = f" and {one['others']} more series" if one["others"] else ""
        lines += [
            f"\n{place}. {one['trace']}, {one['rule']}, {one['window_start']} {labels}{others}",
            f"   {one['size']} times its bound: {one['reason']}",
            f"   {one['picture']}",
        ]
    return lines


if __name__ == "__main__":
    sys.exit(main())
