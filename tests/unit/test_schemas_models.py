"""The envelope, the families and the rules that a schema cannot say."""

from __future__ import annotations

import time
import uuid
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal, localcontext
from typing import Any

import pytest
from pydantic import ValidationError

from nilo_schemas.codec import decode, encode
from nilo_schemas.contracts import contract, records
from nilo_schemas.envelope import uuid7
from nilo_schemas.errors import ContractError
from nilo_schemas.families import (
    OURS,
    LlmEvent,
    TradeEvent,
    family_of_topic,
    family_of_type,
)

# EVENTS.md, word for word: what stands here is promised to users.
ENVELOPE = [
    "id",
    "type",
    "time",
    "source",
    "subject",
    "severity",
    "session_id",
    "trace_id",
    "span_id",
    "parent_span_id",
    "causation_id",
    "sample_rate",
    "attributes",
]
FAMILIES = {
    "events.llm": (
        "llm.call llm.stream",
        """provider model operation status error_type duration time_to_first_token input_tokens
        output_tokens cached_input_tokens reasoning_tokens cost attempt fallback_from endpoint
        prompt_hash""",
    ),
    "events.chat": (
        "chat.start chat.message chat.complete",
        "role chars tokens duration status error_type",
    ),
    "events.graph": (
        "graph.node.enter graph.node.exit graph.state.update",
        "graph node parent_node duration status error_type state_keys",
    ),
    "events.vector": (
        "vector.search vector.insert vector.update",
        "store collection k results top_score duration status error_type",
    ),
    "events.debate": (
        """debate.start debate.turn debate.decision debate.end checkpoint.saved
        checkpoint.restored""",
        """agent turn topic stance argument_class sentiment chars text_hash duration state_version
        state_ref""",
    ),
    "events.judgement": (
        "simulacra.classified bias.flagged frame.detected feedback.submitted",
        "node label confidence model golden_label overridden_label overridden_by agreed",
    ),
    "events.ui": (
        "ui.view ui.action ui.measure ui.override",
        "page element action duration client",
    ),
    "events.trade": (
        "trade.signal trade.gate trade.execution trade.outcome trade.shadow",
        """symbol side quantity price decision_time label_cutoff_time gate gate_passed gate_value
        gate_threshold reason regime market pnl order_id""",
    ),
    "events.model": (
        "model.registered model.changed model.promoted model.retired",
        "model_id git_sha data_snapshot_id config_version parent_model_id metrics",
    ),
    "events.evolution": (
        "evolution.started evolution.completed kpi.snapshot strategy.applied",
        """agent evolution_id evolution_type strategy risk_level target_gain actual_gain
        performance_score improvement_delta quality_score memory_mb cpu_percent duration success
        errors warnings kpis""",
    ),
    "events.system": (
        "log.record resource.sampled health.changed circuit.opened circuit.closed",
        """component logger message exception_type exception_message stack_hash memory_bytes
        cpu_percent queue_depth status fill""",
    ),
}
MARKET = ["volatility_1h", "spread_bps", "liquidity_score", "trend_30m", "volume_vs_avg"]


def llm(**values: Any) -> LlmEvent:
    return LlmEvent.model_validate({"type": "llm.call", "source": "test"} | values)


def test_the_families_are_those_of_the_design() -> None:
    assert [family.kafka_topic for family in OURS] == list(FAMILIES)


@pytest.mark.parametrize("topic", FAMILIES)
def test_envelope_first_then_the_fields_of_the_family(topic: str) -> None:
    types, fields = FAMILIES[topic]
    family = family_of_topic(topic)
    assert list(family.model_fields) == [*ENVELOPE, *fields.split()]
    assert [field["name"] for field in contract(family)["fields"]] == list(family.model_fields)
    assert list(family.types()) == types.split()
    assert all(family_of_type(event_type) is family for event_type in types.split())


def test_the_market_of_a_trade() -> None:
    market = next(f for f in contract(TradeEvent)["fields"] if f["name"] == "market")
    assert [field["name"] for field in market["type"][1]["fields"]] == MARKET


def _unions(schema: Any) -> list[list[Any]]:
    if isinstance(schema, list):
        return [schema, *(union for branch in schema for union in _unions(branch))]
    if isinstance(schema, dict):
        inside = [schema.get("type"), schema.get("items"), schema.get("values")]
        inside += [field["type"] for field in schema.get("fields", ())]
        return [union for part in inside for union in _unions(part)]
    return []


@pytest.mark.parametrize("topic", records())
def test_no_union_other_than_null_with_one_type(topic: str) -> None:
    unions = _unions(contract(records()[topic]))
    assert unions
    assert all(len(union) == 2 and union[0] == "null" for union in unions)


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({"trace_id": "0" * 32}, "zeros"),
        ({"trace_id": "a" * 31}, "trace_id"),
        ({"trace_id": "A" * 32}, "trace_id"),
        ({"trace_id": "a" * 32 + "\n"}, "trace_id"),
        ({"span_id": "0" * 16}, "zeros"),
        ({"span_id": "a" * 32}, "span_id"),
        ({"input_tokens": -1}, "input_tokens"),
        ({"input_tokens": 2**63}, "input_tokens"),
        ({"attempt": 2**31}, "attempt"),
        ({"duration": timedelta(microseconds=-1)}, "duration"),
        ({"cost": Decimal("-0.01")}, "cost"),
        ({"cost": Decimal("NaN")}, "cost"),
        ({"sample_rate": 0}, "sample_rate"),
        ({"type": "llm.unheard"}, "type"),
        ({"source": ""}, "source"),
        ({"source": "a\0b"}, "source"),
        ({"attributes": {"a": "b\0"}}, "attributes"),
        ({"attributes": {"a\0": "b"}}, "attributes"),
        ({"endpoint": "\ud800"}, "endpoint"),
        ({"time": datetime(2026, 1, 1)}, "timezone"),
        ({"time": datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=5)))}, "years 1 to 9999"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_rule_broken_is_named(values: dict[str, Any], word: str) -> None:
    with pytest.raises(ValidationError, match=word):
        llm(**values)


def test_no_leakage_of_the_future_into_a_decision() -> None:
    cutoff = datetime(2026, 1, 1, tzinfo=UTC)

    def decided(time: datetime) -> TradeEvent:
        return TradeEvent(
            type="trade.signal", source="bot", decision_time=time, label_cutoff_time=cutoff
        )

    assert decided(cutoff).decision_time == cutoff
    with pytest.raises(ValidationError, match="leak"):
        decided(cutoff + timedelta(microseconds=1))


def test_infinite_and_nan_numbers_are_refused() -> None:
    for value in (float("nan"), float("inf")):
        with pytest.raises(ValidationError, match="finite"):
            TradeEvent(type="trade.signal", source="bot", quantity=value)


def test_an_event_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        llm().source = "other"  # type: ignore[misc]  # what the test is about


def test_time_is_shown_in_utc() -> None:
    noon = datetime(2026, 1, 1, 12, tzinfo=timezone(timedelta(hours=2)))
    assert llm(time=noon).time.isoformat() == "2026-01-01T10:00:00+00:00"


def test_the_key_is_the_subject_else_the_source() -> None:
    assert llm(subject="agent").key == "agent"
    assert llm().key == "test"


def test_money_is_exact_under_any_decimal_context() -> None:
    with localcontext() as context:
        context.prec = 4
        event = llm(cost=Decimal("12345.123456789"))
        value = encode(event, 1)
        assert decode(value, LlmEvent, lambda _: contract(LlmEvent)).cost == event.cost
    assert event.to_avro()["cost"] == 12_345_123_456_789


def test_money_rounds_half_to_even_at_the_nano() -> None:
    assert llm(cost=Decimal("0.0000000025")).to_avro()["cost"] == 2


def test_uuid7_has_version_and_variant() -> None:
    made = uuid.UUID(uuid7())
    assert made.version == 7
    assert made.variant == uuid.RFC_4122


def test_uuid7_carries_its_millisecond_and_sorts_by_it(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    for millisecond in (1, 255, 256, 1_700_000_000_000, 1_700_000_000_001):
        monkeypatch.setattr(time, "time_ns", lambda ms=millisecond: ms * 1_000_000)
        made.append(uuid7())
        assert uuid.UUID(made[-1]).int >> 80 == millisecond
    assert made == sorted(made)
    assert len({uuid7() for _ in range(1000)}) == 1000


def test_unknown_topic_and_type_say_what_there_is() -> None:
    with pytest.raises(ContractError, match=r"events\.nope.*events\.llm"):
        family_of_topic("events.nope")
    with pytest.raises(ContractError, match=r"no\.such.*llm\.call"):
        family_of_type("no.such")
