"""Logs, resources and health of programs."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from nilo_schemas.envelope import Event
from nilo_schemas.fields import Count, Name, Share, Text


class SystemEvent(Event):
    """A log record, a sample of resources, a change of health, a circuit opened or closed."""

    kafka_topic: ClassVar[str] = "events.system"

    type: Literal[
        "log.record", "resource.sampled", "health.changed", "circuit.opened", "circuit.closed"
    ]
    component: Name | None = None
    logger: Text | None = None
    message: Text | None = None
    exception_type: Text | None = None
    exception_message: Text | None = None
    stack_hash: Text | None = None
    memory_bytes: Count | None = None
    cpu_percent: float | None = Field(default=None, ge=0)
    queue_depth: Count | None = None
    status: Text | None = None
    fill: Share | None = Field(default=None, description="how full its queue is: 1 is full")
