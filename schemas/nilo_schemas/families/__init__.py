"""The event families: ours, and those that other packages add by the entry point `nilo.events`."""

from __future__ import annotations

from functools import cache
from importlib.metadata import EntryPoint, entry_points

from nilo_schemas.envelope import Event
from nilo_schemas.errors import ContractError
from nilo_schemas.families.chat import ChatEvent
from nilo_schemas.families.debate import DebateEvent
from nilo_schemas.families.evolution import EvolutionEvent
from nilo_schemas.families.graph import GraphEvent
from nilo_schemas.families.judgement import JudgementEvent
from nilo_schemas.families.llm import LlmEvent
from nilo_schemas.families.model import ModelEvent
from nilo_schemas.families.system import SystemEvent
from nilo_schemas.families.trade import Market, TradeEvent
from nilo_schemas.families.ui import UiEvent
from nilo_schemas.families.vector import VectorEvent

__all__ = [
    "OURS",
    "ChatEvent",
    "DebateEvent",
    "EvolutionEvent",
    "GraphEvent",
    "JudgementEvent",
    "LlmEvent",
    "Market",
    "ModelEvent",
    "SystemEvent",
    "TradeEvent",
    "UiEvent",
    "VectorEvent",
    "families",
    "family_of_topic",
    "family_of_type",
]

OURS: tuple[type[Event], ...] = (
    LlmEvent,
    ChatEvent,
    GraphEvent,
    VectorEvent,
    DebateEvent,
    JudgementEvent,
    UiEvent,
    TradeEvent,
    ModelEvent,
    EvolutionEvent,
    SystemEvent,
)


@cache
def families() -> dict[str, type[Event]]:
    """Every known family by its topic; raises ContractError for an entry point that is none."""
    found = {family.kafka_topic: family for family in OURS}
    for point in entry_points(group="nilo.events"):
        family = _loaded(point)
        if family.kafka_topic in found:
            raise ContractError(f"entry point {point.name!r}: topic {family.kafka_topic} is taken")
        found[family.kafka_topic] = family
    return found


def _loaded(point: EntryPoint) -> type[Event]:
    try:
        family = point.load()
    except Exception as error:
        # whatever a user's module raises while it is imported
        raise ContractError(
            f"entry point nilo.events {point.name!r} does not load: {type(error).__name__}: {error}"
        ) from error
    if not (isinstance(family, type) and issubclass(family, Event)):
        raise ContractError(f"entry point nilo.events {point.name!r} is not an Event class")
    if not (hasattr(family, "kafka_topic") and family.types()):
        raise ContractError(
            f"entry point nilo.events {point.name!r}: {family.__name__} needs a `kafka_topic` "
            "and a `type` that is a Literal of its event types"
        )
    return family


def family_of_topic(topic: str) -> type[Event]:
    """The family of a topic (without prefix); raises ContractError when there is none."""
    try:
        return families()[topic]
    except KeyError:
        raise ContractError(
            f"no event family has the topic {topic!r}; known: {', '.join(families())}"
        ) from None


def family_of_type(event_type: str) -> type[Event]:
    """The family of an event type such as `llm.call`; raises ContractError when there is none."""
    for family in families().values():
        if event_type in family.types():
            return family
    known = ", ".join(sorted(name for family in families().values() for name in family.types()))
    raise ContractError(f"unknown event type {event_type!r}; known: {known}")
