"""Settings of the topics and of the stream processors."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from nilo_schemas.settings_stores import StoreSettings


class ProcessingSettings(StoreSettings):
    """The metrics, the topics, and how the processors treat time."""

    catalogue: Path | None = Field(
        default=None, description="folder of your own metrics, laid over the shipped ones"
    )
    topic_prefix: str = Field(
        default="", pattern=r"^[a-zA-Z0-9.-]{0,64}$", description="put before every topic name"
    )
    partitions: int = Field(default=4, ge=1, le=1024, description="partitions of a new topic")
    replication_factor: int = Field(default=1, ge=1, le=9, description="copies of a new topic")
    out_of_orderness: float = Field(
        default=2.0, ge=0, description="seconds that the watermark stays behind the newest event"
    )
    grace: float = Field(
        default=600.0, ge=0, description="seconds after its end in which a window takes late events"
    )
    idle_after: float = Field(
        default=5.0, gt=0, description="seconds of silence after which a partition holds up nobody"
    )
    future_bound: float = Field(
        default=3600.0,
        ge=0,
        description="seconds by which an event's time may be ahead of its Kafka timestamp; "
        "what is further ahead becomes a dead letter",
    )
    series_cap: int = Field(
        default=10_000,
        ge=1,
        description="series that a metric may have in one window of one source partition; "
        "the rest count as `__other__`",
    )
    replay_rate: float | None = Field(
        default=None,
        gt=0,
        description="events a second that a replay reads at most, so that others get theirs; "
        "none: as fast as it goes",
    )
    stuck_after: float = Field(
        default=60.0,
        gt=0,
        description="seconds without progress, with messages to read, after which a worker ends",
    )
    report_every: float = Field(
        default=10.0,
        ge=0,
        description="seconds between the events of processors, sinks and producers about "
        "themselves; 0: none",
    )
