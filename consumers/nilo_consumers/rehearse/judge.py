"""Whether message values decode with a new contract, and whether they do with the one in force."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nilo_schemas.batch import BatchDecoder
from nilo_schemas.faults import BadMessage
from nilo_schemas.record import Record

Values = Sequence[bytes | None]
WriterSchema = Callable[[int], dict[str, Any]]
LOST = "lost"


@dataclass(frozen=True)
class Fault:
    """What is wrong with a record: the code of a dead letter or `lost`, the field, in words.

    `lost`: it decodes, but a value of it is not kept.
    """

    reason: str
    field: str
    problem: str


@dataclass(frozen=True)
class Verdict:
    """Of some message values, by index: those that break, and those that are bad today already.

    A value is bad already when the contract in force does not decode it either, or loses the same
    field's value.
    """

    breaks: Mapping[int, Fault]
    already: Mapping[int, Fault]


class Judge:
    """Judges the message values of one topic.

    Args:
        record: of the topic; its contract is in force.
        writer_schema: as `BatchDecoder` takes it.
        reader: the new contract.
    """

    def __init__(
        self, record: type[Record], writer_schema: WriterSchema, reader: dict[str, Any]
    ) -> None:
        self._new = _Reading(record, writer_schema, reader)
        self._today = _Reading(record, writer_schema)

    def __call__(self, values: Values) -> Verdict:
        """Judge all values; each counts once, under the first of its fields that is bad."""
        found = self._new.faults(values)
        today = self._today.faults([values[index] for index in found]) if found else {}
        already = {
            index: fault
            for place, (index, fault) in enumerate(found.items())
            if place in today and (today[place].reason != LOST or _equal_loss(fault, today[place]))
        }
        return Verdict({i: fault for i, fault in found.items() if i not in already}, already)

    def failures(self, values: Values) -> dict[int, Fault]:
        """By index, what does not decode with the new contract, whatever is lost."""
        return {i: fault for i, fault in self._new.faults(values).items() if fault.reason != LOST}


class _Reading:
    """One reader's schema, with and without values that it loses."""

    def __init__(
        self,
        record: type[Record],
        writer_schema: WriterSchema,
        reader: dict[str, Any] | None = None,
    ) -> None:
        self._plain = BatchDecoder(record, writer_schema, reader)
        self._lossless = BatchDecoder(record, writer_schema, reader, lossless=True)

    def faults(self, values: Values) -> dict[int, Fault]:
        bad = self._lossless.decode(values).bad
        if not bad:
            return {}
        failed = {
            bad[again.index].index: again
            for again in self._plain.decode([values[one.index] for one in bad]).bad
        }
        return {
            one.index: _fault(failed[one.index])
            if one.index in failed
            else Fault(LOST, one.field, problem_of(one))
            for one in bad
        }


def _fault(bad: BadMessage) -> Fault:
    return Fault(str(bad.reason), bad.field, problem_of(bad))


def problem_of(bad: BadMessage) -> str:
    """What happened, without the field and the schema, which are told beside it."""
    return bad.detail.split(f"field {bad.field}: ", 1)[-1] if bad.field else bad.detail


def _equal_loss(new: Fault, today: Fault) -> bool:
    return new.reason == LOST and new.field == today.field
