"""Which partition of `metrics.partials` a series goes to.

Each for itself, unless a rule looks at several series together: then these go to one partition, so
that their windows close together and nobody has to wait for another worker.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from nilo_schemas.catalogue import Catalogue
from nilo_schemas.rules import Rule
from nilo_stream_processors.engine.arrays import Ints, Texts
from nilo_stream_processors.engine.grouped import projected
from nilo_stream_processors.engine.partials import Partials


class Route(NamedTuple):
    """What decides about a metric's series: a name, and the labels that count."""

    name: str
    kept: tuple[str, ...]


class Routes:
    """The routes of a catalogue; `digest` changes when one of them does."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._dimensions = {name: m.dimensions for name, m in catalogue.metrics.items()}
        self._routes = _routes(catalogue)
        told = json.dumps(sorted(self._routes.items()))
        self.digest = hashlib.sha256(told.encode()).hexdigest()[:16]

    def targets(self, partials: Partials, partitions: int) -> Ints:
        """The partition of each row."""
        found = np.empty(len(partials), np.int64)
        metrics = partials.metric.tolist()
        for metric in sorted(set(metrics)):
            rows = np.flatnonzero(partials.metric == metric)
            found[rows] = self._of(metric, partials.series[rows], partitions)
        return found

    def _of(self, metric: str, series: Texts, partitions: int) -> Ints:
        dimensions = self._dimensions.get(metric, [])
        route = self._routes.get(metric, Route(metric, tuple(dimensions)))
        keys = projected(series, dimensions, route.kept).tolist()
        begun = zlib.crc32(route.name.encode())
        sums = (zlib.crc32(key.encode(), begun) for key in keys)
        return np.fromiter(sums, np.int64, len(keys)) % partitions


def _routes(catalogue: Catalogue) -> dict[str, Route]:
    """The routes of all metrics; those that a rule compares have one name."""
    together: dict[str, set[str]] = {name: {name} for name in catalogue.metrics}
    kept = {name: list(metric.dimensions) for name, metric in catalogue.metrics.items()}
    for rule in catalogue.rules.values():
        mine = together[rule.metric]
        if rule.kind == "ratio":
            mine |= together[rule.condition().other or ""]
        for name in mine:
            together[name] = mine
        kept[rule.metric] = [name for name in kept[rule.metric] if name in _kept(rule, kept)]
    found = {}
    for name, mine in together.items():
        common = [each for each in kept[min(mine)] if all(each in kept[one] for one in mine)]
        found[name] = Route(min(mine), tuple(common))
    return found


def _kept(rule: Rule, dimensions: dict[str, list[str]]) -> Sequence[str]:
    """The labels that tell apart what a rule does not look at together."""
    if rule.by is not None:
        return rule.by
    return [name for name in dimensions[rule.metric] if name != rule.drift]
