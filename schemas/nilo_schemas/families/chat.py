"""Conversations with people."""

from __future__ import annotations

from typing import ClassVar, Literal

from nilo_schemas.envelope import Event
from nilo_schemas.fields import Count, Duration, Name, Text


class ChatEvent(Event):
    """A step of a conversation; the words themselves stay where they are."""

    kafka_topic: ClassVar[str] = "events.chat"

    type: Literal["chat.start", "chat.message", "chat.complete"]
    role: Name | None = None
    chars: Count | None = None
    tokens: Count | None = None
    duration: Duration | None = None
    status: Literal["OK", "ERROR"] = "OK"
    error_type: Text | None = None
