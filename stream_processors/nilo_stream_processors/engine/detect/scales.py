"""Scales on which chance moves an aggregate by as much when it is large as when it is small.

What is counted varies with the root of its mean (Poisson), a share of events with where it lies
(binomial). The root and the arc sine of the root make the variance nearly the same everywhere
(Anscombe 1948), so a night with little traffic is judged like a day.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from nilo_stream_processors.engine.arrays import Floats


@dataclass(frozen=True)
class Scale:
    """A monotonous function of values, and its inverse."""

    to: Callable[[Floats], Floats]
    back: Callable[[Floats], Floats]


def scale_of(aggregate: str) -> Scale:
    """The scale on which values of this aggregate are judged."""
    return _SCALES.get(aggregate, _PLAIN)


def _root(values: Floats) -> Floats:
    return np.copysign(np.sqrt(np.abs(values)), values)


def _square(roots: Floats) -> Floats:
    return np.copysign(np.square(roots), roots)


def _angle(shares: Floats) -> Floats:
    found: Floats = np.arcsin(np.sqrt(shares))
    return found


def _share(angles: Floats) -> Floats:
    found: Floats = np.square(np.sin(np.clip(angles, 0, np.pi / 2)))
    return found


def _same(values: Floats) -> Floats:
    return values


_PLAIN, _COUNTED = Scale(_same, _same), Scale(_root, _square)
_SCALES: dict[str, Scale] = {
    **dict.fromkeys(("count", "errors", "rate", "sum"), _COUNTED),
    "error_ratio": Scale(_angle, _share),
}
