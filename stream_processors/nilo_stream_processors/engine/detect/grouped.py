"""Rules that look at several series together: how much of them there is by fewer labels."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from nilo_schemas.results import SourceRange
from nilo_stream_processors.engine.arrays import Floats, Ints, Texts
from nilo_stream_processors.engine.detect.closed import Closed


def summed(keys: Texts, values: Floats) -> dict[str, float]:
    """The sum of the values of each key, whatever their order; NaN counts as nothing."""
    found: dict[str, list[float]] = {}
    for key, value in zip(keys.tolist(), np.nan_to_num(values).tolist(), strict=True):
        found.setdefault(key, []).append(value)
    return {key: math.fsum(parts) for key, parts in found.items()}


def rows_of(keys: Texts, key: str) -> Ints:
    """The rows that have a key."""
    return np.flatnonzero(keys == key)


def sources_of(closed: Closed, rows: Ints) -> list[SourceRange]:
    """The stretches of several windows, one of each partition."""
    return spanned(source for row in rows.tolist() for source in closed.sources(row))


def spanned(sources: Iterable[SourceRange]) -> list[SourceRange]:
    """One stretch of each partition, from the first to the last offset of all of its stretches."""
    found: dict[tuple[str, int], SourceRange] = {}
    for each in sources:
        place = each.topic, each.partition
        held = found.get(place, each)
        first, last = (
            min(held.first_offset, each.first_offset),
            max(held.last_offset, each.last_offset),
        )
        found[place] = SourceRange(
            topic=each.topic, partition=each.partition, first_offset=first, last_offset=last
        )
    return [found[place] for place in sorted(found)]
