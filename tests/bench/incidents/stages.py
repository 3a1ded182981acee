"""Events through both stages of the engine and the rules, as the processors run them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from nilo_schemas.alerts import Alert
from nilo_schemas.catalogue import Catalogue
from nilo_schemas.catalogue_files import load_catalogue
from nilo_stream_processors.engine import merge, merged, source
from nilo_stream_processors.engine.detect.detection import Detection
from nilo_stream_processors.engine.merge import Mark
from nilo_stream_processors.engine.partials import Partials
from nilo_stream_processors.engine.plan import plan
from tests.bench.incidents.stream import PARTITIONS, Piece

FOLDER = Path(__file__).parent / "catalogue"
_CAP = 10_000
# The defaults of the settings, in microseconds.
_BOUNDS = source.Bounds(disorder=2_000_000, grace=600_000_000, future=3_600_000_000)


def catalogue() -> Catalogue:
    """The bench's own metrics and rules, without the shipped ones."""
    found = load_catalogue(FOLDER)
    mine = {name: each for name, each in found.metrics.items() if name.startswith("bench.")}
    rules = {name: rule for name, rule in found.rules.items() if rule.metric in mine}
    return Catalogue(metrics=mine, rules=rules)


class Stages:
    """Stage 1 of each partition, stage 2, and the rules."""

    def __init__(self, topics: list[str]) -> None:
        rules = catalogue()
        self._sources = {
            (topic, number): source.source_state(plan(rules.of_event(topic), _CAP))
            for topic in topics
            for number in range(PARTITIONS)
        }
        self._merge = merge.merge_state(rules)
        self._detection = Detection(rules, _CAP)
        self.windows = 0

    def take(self, topic: str, pieces: list[Piece]) -> Iterator[Alert]:
        """Take in the next events of a topic; the transitions that are due by them."""
        parts: list[Partials] = []
        marks: dict[merge.Source, Mark] = {}
        for piece in pieces:
            who = topic, piece.partition
            state = self._sources[who]
            source.aggregate(state, piece.batch, piece.offsets, piece.stamps, _BOUNDS)
            parts.append(source.changes(state, who))
            source.expire(state, _BOUNDS.grace)
            marks[who] = Mark(state.watermark, state.last_offset, state.idle)
        merge.take(self._merge, Partials.joined(parts), marks, _BOUNDS.grace)
        for windows in merge.publish(self._merge, _partitions_of, provisional=False):
            self.windows += len(windows)
            if not windows.late and self._detection.wants(windows.name, windows.window):
                self._detection.add(windows.name, windows.window, merged.to_arrow(windows))
        merge.forget(self._merge, _partitions_of, _BOUNDS.grace)
        now = merge.watermark(self._merge, topic, PARTITIONS)
        yield from self._detection.advance(topic, now)


def _partitions_of(_topic: str) -> int:
    return PARTITIONS
