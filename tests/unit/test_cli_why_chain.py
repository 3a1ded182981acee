"""How events are followed to what caused them, and which anomaly is the earliest."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from nilo_cli.why.chain import Chain, Node, follow
from nilo_cli.why.selected import RawEvent
from tests.alerts import an_alert

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
TRACE = "a" * 32


def event(name: str, second: float = 0, *, error: bool = False, **fields: Any) -> RawEvent:
    values = {"id": name, "type": "log.record", "time": NOON + timedelta(seconds=second), **fields}
    return RawEvent("events.system", 0, 0, values, error)


class Held:
    """Events that can be found, and how often somebody looked."""

    def __init__(self, *nodes: Node) -> None:
        self.nodes, self.asked = nodes, 0

    def find(self, ids: Collection[str], traces: Collection[str]) -> Iterable[Node]:
        self.asked += 1
        return [
            node
            for node in self.nodes
            if node.event.id in ids or node.event.text("trace_id") in traces
        ]


def followed(*events: RawEvent, held: Iterable[RawEvent | Node] = ()) -> Chain:
    nodes = [each if isinstance(each, Node) else Node(each) for each in held]
    return follow(events, Held(*nodes).find)


def test_causes_are_followed_to_the_root_whatever_trace_they_are_of() -> None:
    root, middle = event("root", -9, error=True), event("middle", -5, causation_id="root")
    chain = followed(event("end", causation_id="middle"), held=[root, middle])

    assert chain.causes == {"end": "middle", "middle": "root"}
    assert [node.event.id for node in chain.roots()] == ["root"]
    assert [node.event.id for node in chain.caused_by("root")] == ["middle"]
    assert chain.earliest is not None
    assert chain.earliest.event.id == "root"


def test_without_a_cause_the_span_around_counts_and_without_one_the_beginning_of_the_trace() -> (
    None
):
    first = event("first", -9, trace_id=TRACE)
    around = event("around", 1, trace_id=TRACE, span_id="s")
    inner = event("inner", 0, trace_id=TRACE, parent_span_id="s")
    assert followed(inner, held=[first, around]).causes == {"inner": "around", "around": "first"}
    loose = event("loose", 0, trace_id=TRACE, parent_span_id="unknown")
    assert followed(loose, held=[first, around]).causes == {"loose": "first"}


def test_an_error_on_the_same_trace_counts_though_it_is_no_cause_but_only_if_it_came_before() -> (
    None
):
    first = event("first", -9, trace_id=TRACE, span_id="s")
    failed = event("failed", -3, error=True, trace_id=TRACE, parent_span_id="s")
    later = event("later", 3, error=True, trace_id=TRACE, parent_span_id="s")
    well = event("well", -4, trace_id=TRACE, parent_span_id="s")
    end = event("end", trace_id=TRACE, parent_span_id="s")
    chain = followed(end, held=[first, failed, later, well])

    assert set(chain.nodes) == {"first", "failed", "end"}
    assert chain.earliest is not None
    assert chain.earliest.event.id == "failed"


def test_the_earliest_anomaly_may_be_an_event_of_another_alert() -> None:
    root = Node(event("root", -9), an_alert(rule="Upstream"))
    middle = event("middle", -5, error=True, causation_id="root")
    chain = followed(event("end", causation_id="middle"), held=[root, middle])
    assert chain.earliest is root


def test_the_events_of_the_alert_itself_are_no_cause_of_it() -> None:
    chain = followed(event("end", error=True, causation_id="root"), held=[event("root", -9)])
    assert chain.earliest is None


def test_circles_of_causes_come_to_an_end() -> None:
    a, b = event("a", -1, causation_id="b"), event("b", 0, causation_id="a")
    chain = followed(a, held=[a, b])
    assert [node.event.id for node in chain.roots()] == ["b"]
    assert followed(event("self", causation_id="self")).causes == {}


def test_a_cause_that_is_nowhere_is_looked_for_once() -> None:
    held = Held()
    chain = follow([event("end", causation_id="gone")], held.find)
    assert (held.asked, list(chain.nodes)) == (1, ["end"])
