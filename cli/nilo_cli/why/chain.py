"""What caused events: the chain up to the root, and the earliest anomaly on it.

Pure. An event was caused by the one that it names (`causation_id`), else by the one whose span it
lies in (`parent_span_id`), else by the first event of its trace.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field

from nilo_cli.why.selected import RawEvent
from nilo_schemas.alerts import Alert

_ROUNDS = 50  # links that are followed: more are a circle of made-up ids


@dataclass(frozen=True)
class Node:
    """An event on the way, and the other alert that it belongs to."""

    event: RawEvent
    alert: Alert | None = None

    @property
    def anomalous(self) -> bool:
        """Whether it is an error, or another alert is about it."""
        return self.event.error or self.alert is not None


Find = Callable[[Collection[str], Collection[str]], Iterable[Node]]


@dataclass
class Chain:
    """Events by id, and by the id of each that of what caused it.

    `found` are those that the alert is about; the others lie upstream.
    """

    found: set[str] = field(default_factory=set)
    nodes: dict[str, Node] = field(default_factory=dict)
    causes: dict[str, str] = field(default_factory=dict)

    @property
    def earliest(self) -> Node | None:
        """The earliest anomaly upstream; None when there is none."""
        upstream = [node for name, node in self.nodes.items() if name not in self.found]
        known = [node for node in upstream if node.anomalous]
        return min(known, key=lambda node: (node.event.time, node.event.id), default=None)

    def roots(self) -> list[Node]:
        """The events that nothing known has caused, the earliest first."""
        return self._in_order(name for name in self.nodes if name not in self.causes)

    def caused_by(self, name: str) -> list[Node]:
        """What an event has caused, the earliest first."""
        return self._in_order(each for each, cause in self.causes.items() if cause == name)

    def _in_order(self, names: Iterable[str]) -> list[Node]:
        nodes = [self.nodes[name] for name in names]
        return sorted(nodes, key=lambda node: (node.event.time, node.event.id))


def follow(events: Iterable[RawEvent], find: Find) -> Chain:
    """The chain from events up to what they came from.

    Args:
        find: the events that have one of these ids, or belong to one of these traces.
    """
    begun = [Node(event) for event in events]
    known = {node.event.id: node for node in begun}
    asked_ids, asked_traces = set(known), set[str]()
    above = dict(known)
    for _ in range(_ROUNDS):
        ids = _texts(above, "causation_id") - asked_ids
        traces = _texts(above, "trace_id") - asked_traces
        if not ids and not traces:
            break
        asked_ids |= ids
        asked_traces |= traces
        for node in find(ids, traces):
            known.setdefault(node.event.id, node)
        above = _above(begun, known)
    return _kept(begun, known)


def _kept(begun: list[Node], known: dict[str, Node]) -> Chain:
    """What leads to the events, and what went wrong before them on the same traces."""
    latest = max((node.event.time for node in begun), default=None)
    wrong = [
        node
        for node in known.values()
        if node.anomalous and latest is not None and node.event.time <= latest
    ]
    links = _Links(known)
    chain = Chain({node.event.id for node in begun}, _above([*begun, *wrong], known))
    for name, node in chain.nodes.items():
        cause = links.cause_of(node.event)
        if cause is not None and not _circular(chain.causes, name, cause):
            chain.causes[name] = cause
    return chain


def _circular(causes: dict[str, str], name: str, cause: str | None) -> bool:
    while cause is not None:
        if cause == name:
            return True
        cause = causes.get(cause)
    return False


def _above(begun: Iterable[Node], known: dict[str, Node]) -> dict[str, Node]:
    """Events, and all that is known to have caused them."""
    links, found = _Links(known), dict[str, Node]()
    for node in begun:
        name: str | None = node.event.id
        while name is not None and name not in found:
            found[name] = known[name]
            name = links.cause_of(known[name].event)
    return found


def _texts(nodes: dict[str, Node], name: str) -> set[str]:
    values = (node.event.text(name) for node in nodes.values())
    return {value for value in values if value is not None}


class _Links:
    """Finds the cause of an event among those that are known."""

    def __init__(self, known: dict[str, Node]) -> None:
        self._known = known
        self._spans: dict[tuple[str | None, str], str] = {}
        self._first: dict[str, RawEvent] = {}
        for node in sorted(known.values(), key=lambda node: (node.event.time, node.event.id)):
            event = node.event
            trace, span = event.text("trace_id"), event.text("span_id")
            if span is not None:
                self._spans.setdefault((trace, span), event.id)
            if trace is not None:
                self._first.setdefault(trace, event)

    def cause_of(self, event: RawEvent) -> str | None:
        """The id of what caused an event; None when it is not known."""
        named = event.text("causation_id")
        if named in self._known and named != event.id:
            return named
        trace, parent = event.text("trace_id"), event.text("parent_span_id")
        around = None if parent is None else self._spans.get((trace, parent))
        if around is not None and around != event.id:
            return around
        first = None if trace is None else self._first[trace]
        return first.id if first is not None and first.id != event.id else None
