"""What a classifier or a person judged."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from nilo_schemas.envelope import Event
from nilo_schemas.fields import Name, Share, Text


class JudgementEvent(Event):
    """A label given to something, and what people or a golden set say of it."""

    kafka_topic: ClassVar[str] = "events.judgement"

    type: Literal["simulacra.classified", "bias.flagged", "frame.detected", "feedback.submitted"]
    node: Name | None = None
    label: Text | None = None
    confidence: Share | None = None
    model: Name | None = None
    golden_label: Text | None = Field(default=None, description="the right label, where known")
    overridden_label: Text | None = None
    overridden_by: Text | None = None
    agreed: bool | None = None
