"""How unlike two mixes of labels are.

The statistic is the likelihood-ratio test of two multinomials (the G-test: Sokal & Rohlf, Biometry,
3rd edition, chapter 17), brought to a standard normal by Wilson & Hilferty's cube root (PNAS 17,
1931), so that mixes of few and of many labels share one threshold. Cohen's w (Statistical Power
Analysis, 1988, chapter 7) says how large a difference is, however many events showed it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np

Counts = dict[str, float]


class Unlike(NamedTuple):
    """How sure it is that two mixes differ, as a standard normal score; and by how much."""

    score: float
    effect: float


def unlike(now: Mapping[str, float], then: Mapping[str, float]) -> Unlike:
    """How unlike two mixes are, each given as counts by label."""
    labels = sorted({*now, *then})
    table = np.array([[mix.get(label, 0.0) for label in labels] for mix in (now, then)])
    table = table[:, table.any(axis=0)]
    sums = table.sum(axis=1, keepdims=True)
    if table.shape[1] < 2 or not sums.all():
        return Unlike(0.0, 0.0)
    pooled = table.sum(axis=0) / table.sum()
    seen = table > 0
    g = 2 * float((table[seen] * np.log((table / sums / pooled)[seen])).sum())
    apart = table[0] / sums[0] - table[1] / sums[1]
    effect = math.sqrt(float((apart**2 / pooled).sum()))
    return Unlike(normal_score(g, table.shape[1] - 1), effect)


def normal_score(chi_squared: float, degrees: int) -> float:
    """The standard normal score of a chi-squared value, by Wilson and Hilferty."""
    part = 2 / (9 * degrees)
    return (math.cbrt(max(chi_squared, 0.0) / degrees) - (1 - part)) / math.sqrt(part)


def joined(mixes: Iterable[Mapping[str, float]]) -> Counts:
    """The counts of several mixes together."""
    found: Counts = {}
    for mix in mixes:
        for label, count in mix.items():
            found[label] = found.get(label, 0.0) + count
    return found


def shares(mix: Mapping[str, float]) -> Counts:
    """What part of a mix each label is."""
    total = sum(mix.values())
    return {label: count / total for label, count in mix.items()}
