"""The events of a topic as Kafka would give them: partitions, offsets, times of arrival."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from nilo_schemas.arrow import arrow_schema
from nilo_schemas.families import families
from tests.bench.incidents.altered import Topic, alter
from tests.bench.incidents.noise import Noise
from tests.bench.incidents.scene import A_DAY, START, WINDOW, Incident, Ints, Sizes
from tests.bench.incidents.usual import Draw

PARTITIONS = 4
# Events come so late at most, in microseconds; they overtake one another by less.
_LATEST = 1_500_000
_USUAL = {"id": "bench", "source": "bench", "severity": "INFO"}
# Offsets of the altered events by incident and partition.
Marks = dict[int, dict[int, list[Ints]]]


class Piece(NamedTuple):
    """Events of one partition one after another; `stamps` are the times of arrival."""

    partition: int
    batch: pa.RecordBatch
    offsets: Ints
    stamps: Ints


class Stream:
    """The events of a topic, day by day, with the incidents in them.

    Args:
        piece: the time of arrival that a batch is of, in microseconds.
    """

    def __init__(self, topic: Topic, sizes: Sizes, incidents: list[Incident], piece: int) -> None:
        self.topic = topic.topic
        self._source, self._sizes, self._piece = topic, sizes, piece
        mine = [each for each in incidents if each.kind.value.topic == topic.topic]
        self._incidents, self._noise = mine, Noise()
        self._next = [0] * PARTITIONS
        self.marks: Marks = {}
        self.events = 0
        for day in range(sizes.days):
            for name, apart in topic.apart(topic.draw(day)).items():
                self._noise.add(name, day, apart)

    def pieces(self, day: int) -> Iterator[list[Piece]]:
        """The batches of a day, those of one stretch of time together."""
        draw = self._source.draw(day)
        begin, end = (START + (day + more) * A_DAY * WINDOW for more in (0, 1))
        for incident in self._incidents:
            if incident.begin - WINDOW < end and incident.end > begin:
                alter(self._source, draw, incident, self._noise)
        rng = np.random.default_rng([self._sizes.seed, 7, day])
        arrival = draw.time + rng.integers(0, _LATEST, len(draw.time))
        partition = rng.integers(0, PARTITIONS, len(draw.time))
        rows = np.argsort(arrival, kind="stable")
        rows = rows[draw.kept[rows]]
        self.events += len(rows)
        by_partition = [rows[partition[rows] == number] for number in range(PARTITIONS)]
        offsets = [self._numbered(draw, number, mine) for number, mine in enumerate(by_partition)]
        edges = np.append(np.arange(begin + self._piece, end, self._piece), np.iinfo(np.int64).max)
        cuts = [np.searchsorted(arrival[mine], edges) for mine in by_partition]
        first = [0] * PARTITIONS
        for place in range(len(edges)):
            found = []
            for number, mine in enumerate(by_partition):
                here = slice(first[number], int(cuts[number][place]))
                first[number] = here.stop
                batch = self._batch(draw, mine[here])
                found.append(Piece(number, batch, offsets[number][here], arrival[mine[here]]))
            yield found

    def _numbered(self, draw: Draw, partition: int, rows: Ints) -> Ints:
        """The offsets of a partition's rows; those of altered events are noted."""
        offsets = self._next[partition] + np.arange(len(rows))
        self._next[partition] += len(rows)
        marks = draw.mark[rows]
        for incident in np.unique(marks[marks >= 0]).tolist():
            mine = self.marks.setdefault(incident, {}).setdefault(partition, [])
            mine.append(offsets[marks == incident])
        return offsets

    def _batch(self, draw: Draw, rows: Ints) -> pa.RecordBatch:
        schema, many = arrow_schema(families()[self.topic]), len(rows)
        columns = {name: pa.repeat(text, many) for name, text in _USUAL.items()}
        columns["time"] = pa.array(draw.time[rows]).cast(pa.timestamp("us", "UTC"))
        columns["sample_rate"] = pa.repeat(pa.scalar(1, pa.int32()), many)
        columns["attributes"] = _no_attributes(schema.field("attributes").type, many)
        columns |= self._source.columns(draw, rows)
        filled = [
            columns[field.name] if field.name in columns else pa.nulls(many, field.type)
            for field in schema
        ]
        return pa.RecordBatch.from_arrays(filled, schema=schema)


def _no_attributes(kind: pa.DataType, many: int) -> pa.Array:
    none = pa.array([], pa.string())
    return pa.MapArray.from_arrays(pa.array(np.zeros(many + 1, np.int32)), none, none, type=kind)
