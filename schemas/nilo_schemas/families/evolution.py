"""Agents that change themselves, and how that went."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from nilo_schemas.envelope import Event
from nilo_schemas.fields import Count, Duration, Name, Text


class EvolutionEvent(Event):
    """An evolution begun or ended, a strategy applied, or a snapshot of the agent's figures."""

    kafka_topic: ClassVar[str] = "events.evolution"

    type: Literal["evolution.started", "evolution.completed", "kpi.snapshot", "strategy.applied"]
    agent: Name | None = None
    evolution_id: Name | None = None
    evolution_type: Text | None = None
    strategy: Text | None = None
    risk_level: Text | None = None
    target_gain: float | None = None
    actual_gain: float | None = None
    performance_score: float | None = None
    improvement_delta: float | None = None
    quality_score: float | None = None
    memory_mb: float | None = Field(default=None, ge=0)
    cpu_percent: float | None = Field(default=None, ge=0)
    duration: Duration | None = None
    success: bool | None = None
    errors: Count | None = None
    warnings: Count | None = None
    kpis: dict[Text, float] = Field(default_factory=dict)
