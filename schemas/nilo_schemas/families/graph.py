"""Steps of an agent graph."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from nilo_schemas.envelope import Event
from nilo_schemas.fields import Duration, Name, Text


class GraphEvent(Event):
    """A node of a graph entered or left, or the graph's state changed."""

    kafka_topic: ClassVar[str] = "events.graph"

    type: Literal["graph.node.enter", "graph.node.exit", "graph.state.update"]
    graph: Name | None = None
    node: Name | None = None
    parent_node: Name | None = None
    duration: Duration | None = None
    status: Literal["OK", "ERROR"] = "OK"
    error_type: Text | None = None
    state_keys: list[Text] = Field(
        default_factory=list, description="keys of the state that changed"
    )
