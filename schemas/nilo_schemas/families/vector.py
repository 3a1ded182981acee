"""Operations on vector stores."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from nilo_schemas.envelope import Event
from nilo_schemas.fields import Count, Duration, Name, Small, Text


class VectorEvent(Event):
    """A search in, or a change of, a collection of vectors."""

    kafka_topic: ClassVar[str] = "events.vector"

    type: Literal["vector.search", "vector.insert", "vector.update"]
    store: Name | None = None
    collection: Name | None = None
    k: Small | None = Field(default=None, description="results asked for")
    results: Count | None = Field(default=None, description="results returned, or rows written")
    top_score: float | None = None
    duration: Duration | None = None
    status: Literal["OK", "ERROR"] = "OK"
    error_type: Text | None = None
