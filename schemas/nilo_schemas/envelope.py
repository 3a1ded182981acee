"""The envelope: the fields in front of every event, CloudEvents' names where it has one."""

from __future__ import annotations

import os
import time as clock
import uuid
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, ClassVar, get_args

from pydantic import Field

from nilo_schemas.fields import AvroInt, Name, SpanId, Text, Time, TraceId
from nilo_schemas.record import Record


class Severity(StrEnum):
    """How grave an event is; also decides what may be dropped under pressure."""

    DEBUG = "DEBUG"
    INFO = "INFO"
    WARNING = "WARNING"
    ERROR = "ERROR"
    CRITICAL = "CRITICAL"


def uuid7() -> str:
    """A new UUIDv7 (RFC 9562, section 5.7): 48 bits of milliseconds, then random bits."""
    milliseconds = clock.time_ns() // 1_000_000
    value = int.from_bytes(milliseconds.to_bytes(6, "big") + os.urandom(10), "big")
    value = value & ~(0xF000 << 64) | (0x7000 << 64)
    value = value & ~(0xC000 << 48) | (0x8000 << 48)
    return str(uuid.UUID(int=value))


def _now() -> datetime:
    return datetime.now(UTC)


class Event(Record):
    """What happened, when, where and about what. Each family adds its fields behind these.

    A family sets `kafka_topic` and narrows `type` to a Literal of its types.
    """

    kafka_topic: ClassVar[str]

    id: Name = Field(default_factory=uuid7, description="UUIDv7; redrive and replay keep it")
    type: str = Field(description="<family>.<what happened>")
    time: Time = Field(default_factory=_now, description="when it happened (event time)")
    source: Name = Field(description="the program: service, bot, simulation")
    subject: Name | None = Field(default=None, description="what it is about; the partition key")
    severity: Severity = Severity.INFO
    session_id: Name | None = Field(default=None, description="conversation, debate, run")
    trace_id: TraceId | None = None
    span_id: SpanId | None = None
    parent_span_id: SpanId | None = None
    causation_id: Name | None = Field(default=None, description="id of the event that caused this")
    sample_rate: Annotated[int, Field(ge=1, le=2**31 - 1), AvroInt()] = Field(
        default=1, description="this event stands for so many"
    )
    attributes: dict[Text, Text] = Field(
        default_factory=dict, description="free labels; never free text of users"
    )

    @classmethod
    def types(cls) -> tuple[str, ...]:
        """The event types of this family."""
        return get_args(cls.model_fields["type"].annotation)

    @property
    def key(self) -> str:
        """The partition key: events with the same key keep their order."""
        return self.subject or self.source
