"""Series as operations have them, made up, with disturbances of which we know everything.

Windows of five minutes; a day and a week of different strength, noise that is Gaussian or lognormal
(in proportion to the value then) and a little correlated. All sizes are in standard deviations of
the noise of the series.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from nilo_stream_processors.engine.anomaly import THRESHOLD, Detectors
from nilo_stream_processors.engine.arrays import Bools, Floats

STEP = 300_000_000
DAY = 86_400_000_000 // STEP
DAYS, FIRST_DAY = 28, 16
KINDS, SIZES = ("step", "drift", "spike"), (2, 3, 5)
# Windows that a step lasts, in which it is to be found, and in which a drift reaches its size.
LASTS, SOON, RISES = 12, 3, 24
# Monday 2024-01-01.
_BEGIN = 1_704_067_200_000_000
_APART = 3.5
_DAYS = 30


@dataclass
class Disturbance:
    """One disturbance: to be found in the windows from `begin` to `end`."""

    kind: str
    size: int
    series: int
    begin: int
    end: int


@dataclass
class Operations:
    """Values by window and series; the first `quiet` series have no disturbance."""

    values: Floats
    quiet: int
    lognormal: Bools
    disturbances: list[Disturbance] = field(default_factory=list)


def make(of_each: int, seed: int = 1) -> Operations:
    """`of_each` series with each kind and size of disturbance, five times as many quiet ones."""
    chance = np.random.default_rng(seed)
    quiet = 5 * of_each
    count = quiet + of_each * len(KINDS) * len(SIZES)
    windows = DAYS * DAY
    values = np.empty((windows, count))
    lognormal = np.arange(count) % 2 == 1
    made = Operations(values, quiet, lognormal)
    for series in range(count):
        values[:, series], deviation = _series(chance, windows, bool(lognormal[series]))
        if series >= quiet:
            which = (series - quiet) % (len(KINDS) * len(SIZES))
            kind, size = KINDS[which // len(SIZES)], SIZES[which % len(SIZES)]
            made.disturbances += _disturb(chance, values, (series, kind, size), deviation)
    return made


def _series(chance: np.random.Generator, windows: int, lognormal: bool) -> tuple[Floats, float]:
    """The values of a series, and the standard deviation of its noise."""
    now = np.arange(windows)
    phases, angle = chance.uniform(0, 2 * np.pi, 2), 2 * np.pi * now / DAY
    day = (np.sin(angle + phases[0]) + 0.4 * np.sin(2 * angle + phases[1])) / 1.2
    lull = chance.choice([0, 0.3, 0.7])
    weekend = np.convolve(np.where(now // DAY % 7 >= 5, 1 - lull, 1.0), np.ones(49) / 49, "same")
    weekend[:24], weekend[-24:] = 1, weekend[-25]
    base = (1 + chance.choice([0, 0.1, 0.3, 0.6]) * day) * weekend
    noise = _noise(chance, windows, chance.choice([0, 0.15, 0.3]))
    relative, scale = chance.choice([0.03, 0.1, 0.2]), 10 ** chance.uniform(-2, 4)
    added = base * np.expm1(relative * noise - relative**2 / 2) if lognormal else relative * noise
    values: Floats = scale * (base + added)
    return values, float(scale * added.std())


def _noise(chance: np.random.Generator, windows: int, correlation: float) -> Floats:
    """Gaussian noise of variance 1; each value correlated with the one before."""
    fresh: Floats = chance.standard_normal(windows) * np.sqrt(1 - correlation**2)
    for row in range(1, windows):
        fresh[row] += correlation * fresh[row - 1]
    return fresh


def _disturb(
    chance: np.random.Generator,
    values: Floats,
    which: tuple[int, str, int],
    deviation: float,
) -> list[Disturbance]:
    """Add disturbances of this series, kind and size, up or down, days apart."""
    series, kind, size = which
    found = []
    begin = FIRST_DAY * DAY + int(chance.integers(DAY))
    while begin + RISES + LASTS < len(values):
        form, soon = _form(kind)
        values[begin : begin + len(form), series] += (
            chance.choice([-1, 1]) * size * deviation * form
        )
        found.append(Disturbance(kind, size, series, begin, begin + soon))
        begin += int(_APART * DAY) + int(chance.integers(DAY // 2))
    return found


def _form(kind: str) -> tuple[Floats, int]:
    """The course of a disturbance of size 1, and in how many windows it is to be found."""
    if kind == "spike":
        return np.ones(1), 1
    if kind == "step":
        return np.ones(LASTS), SOON
    return np.append(np.arange(1, RISES + 1) / RISES, np.ones(LASTS)), RISES + SOON


def alarms(made: Operations) -> Bools:
    """By window and series, whether the score reached the threshold."""
    count = made.values.shape[1]
    detectors, slots = Detectors(STEP), np.arange(count)
    found = np.empty(made.values.shape, np.bool_)
    for row, values in enumerate(made.values):
        times = np.full(count, _BEGIN + row * STEP)
        found[row] = detectors.take(slots, times, values).score >= THRESHOLD
    return found


def found_rates(made: Operations, raised: Bools) -> dict[str, float]:
    """The share of disturbances that were found, by kind and size."""
    rates: dict[str, list[bool]] = {}
    for one in made.disturbances:
        hit = bool(raised[one.begin : one.end, one.series].any())
        rates.setdefault(f"{one.kind}_{one.size}x_found", []).append(hit)
    return {name: round(sum(hits) / len(hits), 3) for name, hits in sorted(rates.items())}


def false_rates(made: Operations, raised: Bools) -> dict[str, float]:
    """Alarms per 30 days of the quiet series, when the weeks are known and before."""
    quiet, skewed = raised[:, : made.quiet], made.lognormal[: made.quiet]
    late = quiet[FIRST_DAY * DAY :]
    return {
        "false_alarms_30_days": _per_month(late),
        "false_alarms_30_days_gaussian": _per_month(late[:, ~skewed]),
        "false_alarms_30_days_lognormal": _per_month(late[:, skewed]),
        "false_alarms_30_days_at_first": _per_month(quiet[: FIRST_DAY * DAY]),
    }


def _per_month(raised: Bools) -> float:
    return round(float(raised.mean()) * DAY * _DAYS, 2)
