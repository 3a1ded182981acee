"""What the stream processors publish: partial and merged metric windows."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from nilo_schemas.fields import AvroInt, Count, Name, Text, Time
from nilo_schemas.record import Part, Record

Int = Annotated[int, Field(ge=-(2**31), le=2**31 - 1), AvroInt()]
Long = Annotated[int, Field(ge=-(2**63), le=2**63 - 1)]


class SourceRange(Part):
    """The stretch of a partition whose events a window was computed from."""

    topic: Name
    partition: Int
    first_offset: Count
    last_offset: Annotated[int, Field(ge=-1, le=2**63 - 1)] = Field(
        description="-1 where there was no event yet"
    )


class Histogram(Part):
    """OpenTelemetry's base-2 exponential histogram: bucket i holds (base**i, base**(i+1)].

    base is 2 ** (2 ** -scale). `negative` counts the values below zero, which have no bucket.
    """

    scale: Int
    zero: Count
    negative: Count
    indexes: list[Int]
    counts: list[Count]


class MetricPartial(Record):
    """All that one source partition holds of one window of one series, so far.

    A snapshot: a later one of the same (metric, dimensions, window, source) replaces it. Sums
    are integers in units of `1 / value_scale` of the metric's unit, so they add up exactly.
    A partial without a metric carries only the watermark of its source partition.
    """

    kafka_topic: ClassVar[str] = "metrics.partials"

    metric: Text
    dimensions: dict[Text, Text]
    window_start: Time
    window_end: Time
    source: SourceRange
    watermark: Time
    idle: bool = Field(default=False, description="the source partition has nothing on its way")
    count: Count
    errors: Count
    value_scale: Long
    sum: Long | None = None
    min: Long | None = None
    max: Long | None = None
    histogram: Histogram | None = None


class MetricWindow(Record):
    """One window of one series of one metric, `[window_start, window_end)`, in the metric's unit.

    `final` is true once the watermark has passed its end; a later one of the same window has a
    higher `revision`.
    """

    kafka_topic: ClassVar[str] = "metrics.windows"

    metric: Name
    unit: Text
    window: Name = Field(description="as the catalogue writes it: 10s, 5m/1m, session 5m")
    window_start: Time
    window_end: Time
    dimensions: dict[Text, Text]
    count: Count
    errors: Count
    sum: float | None = None
    min: float | None = None
    max: float | None = None
    mean: float | None = None
    rate: float = Field(description="events per second over the whole window")
    error_ratio: float
    quantiles: dict[Text, float] = Field(default_factory=dict, description="p50, p95 …")
    histogram: Histogram | None = None
    distinct: float | None = Field(default=None, description="estimate of how many values differ")
    final: bool
    revision: Count
    watermark: Time
    sources: list[SourceRange]
