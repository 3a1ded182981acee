"""How unlike two mixes of labels are.

The share of each label is held against its share before by the likelihood-ratio test of two
proportions (the G-test: Sokal & Rohlf, Biometry, 3rd edition, chapter 17), whose signed root is a
standard normal score; the largest counts, less what the largest of so many has by chance
(Bonferroni). So one label that grows stands out among many that do not. Cohen's w (Statistical
Power Analysis, 1988, chapter 7) says how large a difference is, however many events showed it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from nilo_stream_processors.engine.arrays import Floats

Counts = dict[str, float]


class Unlike(NamedTuple):
    """How sure it is that two mixes differ, as a standard normal score; and by how much."""

    score: float
    effect: float


def most_unlike(mixes: Sequence[Counts], usual: Counts) -> tuple[Counts, Unlike]:
    """Of several mixes the one that is the most unlike the usual one, each as counts by label."""
    labels = sorted({*usual, *(label for mix in mixes for label in mix)})
    now = np.array([[mix.get(label, 0.0) for label in labels] for mix in mixes])
    then = np.array([usual.get(label, 0.0) for label in labels])
    scores, effects = _unlike(now, then)
    place = int(scores.argmax())
    return mixes[place], Unlike(float(scores[place]), float(effects[place]))


def _unlike(now: Floats, then: Floats) -> tuple[Floats, Floats]:
    """Score and effect of each mix; shapes (mixes, labels) and (labels,)."""
    sums, total = now.sum(axis=1, keepdims=True), then.sum()
    if len(then) < 2 or not total or not sums.all():
        return np.zeros(len(now)), np.zeros(len(now))
    pooled = (now + then) / (sums + total)
    # Of each label: its own events, and all others.
    g = _information(now, sums * pooled) + _information(then, total * pooled)
    g += _information(sums - now, sums * (1 - pooled))
    g += _information(total - then, total * (1 - pooled))
    # Two labels say the same.
    by_chance = 2 * math.log(len(then)) if len(then) > 2 else 0.0
    scores: Floats = np.sqrt(np.maximum(g.max(axis=1) - by_chance, 0.0))
    apart = now / sums - then / total
    effects: Floats = np.sqrt((apart**2 / pooled).sum(axis=1))
    return scores, effects


def _information(counts: Floats, expected: Floats) -> Floats:
    """Twice the logarithm of how much likelier counts are by themselves than where expected."""
    counts = np.broadcast_to(counts, expected.shape)
    ratios = np.divide(counts, expected, out=np.ones_like(expected), where=counts > 0)
    found: Floats = 2 * counts * np.log(ratios)
    return found


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
