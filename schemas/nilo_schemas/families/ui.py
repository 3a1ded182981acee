"""What people do on pages."""

from __future__ import annotations

from typing import ClassVar, Literal

from nilo_schemas.envelope import Event
from nilo_schemas.fields import Duration, Name, Text


class UiEvent(Event):
    """A page seen, an element used, a time measured, a choice overridden."""

    kafka_topic: ClassVar[str] = "events.ui"

    type: Literal["ui.view", "ui.action", "ui.measure", "ui.override"]
    page: Name | None = None
    element: Name | None = None
    action: Name | None = None
    duration: Duration | None = None
    client: Text | None = None
