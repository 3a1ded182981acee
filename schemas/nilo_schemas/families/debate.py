"""Debates of agents, and the checkpoints of their state."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from nilo_schemas.envelope import Event
from nilo_schemas.fields import Count, Duration, Name, Small, Text


class DebateEvent(Event):
    """A turn or a decision in a debate, or its state saved and restored."""

    kafka_topic: ClassVar[str] = "events.debate"

    type: Literal[
        "debate.start",
        "debate.turn",
        "debate.decision",
        "debate.end",
        "checkpoint.saved",
        "checkpoint.restored",
    ]
    agent: Name | None = None
    turn: Small | None = None
    topic: Text | None = Field(default=None, description="what the debate is about")
    stance: Text | None = None
    argument_class: Text | None = None
    sentiment: float | None = Field(default=None, ge=-1, le=1)
    chars: Count | None = None
    text_hash: Text | None = None
    duration: Duration | None = None
    state_version: Count | None = None
    state_ref: Text | None = Field(default=None, description="where the saved state lies")
