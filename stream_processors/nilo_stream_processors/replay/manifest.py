"""What a replay is of: its range, its catalogue and its settings. Written once, when it is made."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from nilo_stream_processors.engine.rebuild import Shape
from nilo_stream_processors.engine.source import Bounds
from nilo_stream_processors.replay.rows import Stretch

StoreName = Literal["kafka", "parquet", "archive"]
# No event is later than this: for a replay that takes all of them.
NEVER_LATE = 2**61


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Range(_Frozen):
    """What is read; times in microseconds since 1970, offsets `[first, stop)`.

    Windows that lie in `[since, until]` are the result; None is no bound. Rules begin to look
    `warm_up` earlier.
    """

    store: StoreName
    stretches: list[tuple[str, int, int, int]]
    since: int | None = None
    until: int | None = None
    warm_up: int = 0
    where: dict[str, str] = Field(default_factory=dict)
    left_out: list[tuple[str, int, int]] = Field(
        default_factory=list, description="topic, partition, offset of what was sent again since"
    )

    def parts(self) -> list[Stretch]:
        """The stretches, one for each source partition."""
        return [Stretch((topic, number), *ends) for topic, number, *ends in self.stretches]

    def times(self) -> tuple[int | None, int | None]:
        """The bounds."""
        return self.since, self.until

    def topics(self) -> list[str]:
        """The topics of the stretches."""
        return sorted({topic for topic, *_ in self.stretches})

    def events(self) -> int:
        """How many offsets there are."""
        return sum(stop - first for *_, first, stop in self.stretches)

    def begin(self) -> int:
        """Windows that begin earlier are not whole."""
        return 0 if self.since is None else self.since - self.warm_up


class Rules(_Frozen):
    """The settings that decide about results; times in microseconds."""

    partitions: int
    series_cap: int
    disorder: int
    grace: int
    future: int

    def bounds(self) -> Bounds:
        """As stage 1 takes them."""
        return Bounds(disorder=self.disorder, grace=self.grace, future=self.future)

    def shape(self) -> Shape:
        """As stage 2 takes them."""
        return Shape(self.partitions, self.series_cap, self.grace)


class Manifest(_Frozen):
    """A replay.

    Attributes:
        id: also the namespace of its topics.
        made_at: when it was begun.
        version: of the code that runs it.
        catalogue: its metrics and rules, as the model writes them.
        namespace: in front of its topics' names; None for files alone.
    """

    id: Annotated[str, Field(pattern=r"^[a-z0-9-]{1,40}$")]
    made_at: datetime
    version: str
    range: Range
    rules: Rules
    catalogue: dict[str, Any]
    namespace: str | None = None
