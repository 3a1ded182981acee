"""What the stream processors publish: metric windows; and the topics between them."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from nilo_schemas.fields import AvroInt, Count, Name, Text, Time
from nilo_schemas.record import Part, Record

# Between the two stages of the processors: Arrow frames, no Avro (nilo_stream_processors.frames).
PARTIALS_TOPIC = "metrics.partials"
# The consumer group of the processors, and the topics of their state, as Faust names them.
PROCESSORS_GROUP = "nilo-processors"
STATE_TOPICS = tuple(f"{PROCESSORS_GROUP}-{table}-changelog" for table in ("sources", "merges"))
Int = Annotated[int, Field(ge=-(2**31), le=2**31 - 1), AvroInt()]


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


class MetricWindow(Record):
    """One window of one series of one metric, `[window_start, window_end)`, in the metric's unit.

    `final` is true once the watermark has passed its end; a later one of the same window has a
    higher `revision`. The newest revision says what the window is, and `withdrawn` whether it is.
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

    @property
    def withdrawn(self) -> bool:
        """Whether this revision says that there is no such window any more.

        A session is withdrawn when its start has moved, because an earlier event came or it was
        joined to an earlier session. Its `count` is 0, and that of no other window: one without
        events is not published. In SQL, of the newest revisions: `count = 0`.
        """
        return self.count == 0
