"""Which of the messages that have letters decode now, as every reader would decode them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import pyarrow as pa
from confluent_kafka import Message

from nilo_consumers.batch import Span
from nilo_consumers.decoding import headers_of, record_of, with_origin
from nilo_consumers.dlq.cases import Case
from nilo_consumers.dlq.places import Place
from nilo_consumers.dlq.plan import Act
from nilo_consumers.dlq.tally import Tally
from nilo_consumers.refused import message_at
from nilo_schemas.batch import BatchDecoder
from nilo_schemas.dead_letters import Header, without_story
from nilo_schemas.settings import Settings

REMADE = "its topic was made anew since"
GONE = "its value was at its origin only, and Kafka has deleted that"
STILL = "it does not decode still"
_SHOWN = 200  # characters of a detail


class Written(NamedTuple):
    """A message as it was written; `headers` without the story of its failure."""

    key: bytes | None
    value: bytes | None
    headers: Sequence[Header]


@dataclass(frozen=True)
class Readable:
    """A message that decodes.

    Args:
        message: as it was written.
        row: what it says, as a table with its origin.
    """

    case: Case
    message: Written
    row: pa.Table

    @property
    def place(self) -> Place:
        """Partition and offset."""
        return self.case.origin.partition, self.case.origin.offset


def readable(
    settings: Settings,
    writer_schema: Callable[[int], dict[str, Any]],
    cases: Sequence[Case],
    spans: Mapping[int, Span],
    tally: Tally,
) -> list[Readable]:
    """The messages that decode; the others are left, and counted with the reason of today.

    Args:
        settings: where Kafka is, which may have what was too large for a letter.
        writer_schema: as in BatchDecoder.
        cases: of one topic.
        spans: by partition, what of the topic is in Kafka.
        tally: counts.

    Raises:
        UnreachableError: the brokers or the registry do not answer.
    """
    found: list[tuple[Case, Written]] = []
    for case in cases:
        span = spans.get(case.origin.partition)
        if span is None or case.origin.offset >= span.end:
            tally.case(case, Act.LEFT, why=REMADE)
        elif not case.letter.lacks_value:
            found.append((case, written(case.letter.message, letter=True)))
        elif case.origin.offset < span.start or (at := message_at(settings, case.origin)) is None:
            tally.case(case, Act.LEFT, why=GONE)
        else:
            found.append((case, written(at, letter=False)))
    return _decoded(settings, writer_schema, found, tally) if found else []


def _decoded(
    settings: Settings,
    writer_schema: Callable[[int], dict[str, Any]],
    found: Sequence[tuple[Case, Written]],
    tally: Tally,
) -> list[Readable]:
    record = record_of(found[0][0].origin.topic, settings.topic_prefix)
    decoded = BatchDecoder(record, writer_schema).decode([message.value for _, message in found])
    for bad in decoded.bad:
        detail = f"{bad.reason}: {bad.detail}"[:_SHOWN]
        tally.case(found[bad.index][0], Act.LEFT, why=STILL, detail=detail)
    good = [found[index] for index in decoded.indexes]
    rows = with_origin(
        decoded.rows,
        [case.origin.partition for case, _ in good],
        [case.origin.offset for case, _ in good],
    )
    return [
        Readable(case, message, rows.slice(number, 1))
        for number, (case, message) in enumerate(good)
    ]


def written(message: Message, *, letter: bool) -> Written:
    """Key, value and headers of a dead letter's message, or of one at its origin."""
    key: Any = message.key()  # bytes, but for the stub
    headers = headers_of(message)
    return Written(key, message.value(), without_story(headers) if letter else headers)
