"""How texts on the command line become the values of an event."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from nilo_cli.emit import SOURCE, _lines, _one, values_of
from nilo_cli.errors import UsageError
from nilo_schemas.families import EvolutionEvent, GraphEvent, LlmEvent, Market, TradeEvent


def one(family: Any, *fields: str) -> Any:
    (event,) = _one(family, family.types()[0], fields)
    return event


def test_numbers_are_seconds_dollars_and_counts() -> None:
    event = one(
        LlmEvent, "duration=0.8", "cost=0.0021", "input_tokens=12", "time=2025-01-01T00:00Z"
    )
    assert event.duration == timedelta(milliseconds=800)
    assert event.cost == Decimal("0.0021")
    assert event.input_tokens == 12
    assert event.time.year == 2025
    assert event.source == SOURCE


def test_a_duration_may_also_be_iso() -> None:
    assert one(LlmEvent, "duration=PT2S").duration == timedelta(seconds=2)


def test_a_dot_leads_into_maps_and_parts() -> None:
    event = one(TradeEvent, "market.spread_bps=1.5", "attributes.http.method=GET")
    assert event.market == Market(spread_bps=1.5)
    assert event.attributes == {"http.method": "GET"}
    assert one(EvolutionEvent, "kpis.wins=3").kpis == {"wins": 3.0}


def test_lists_and_whole_maps_are_json() -> None:
    assert one(GraphEvent, 'state_keys=["a", "b"]').state_keys == ["a", "b"]
    assert one(LlmEvent, 'attributes={"a": "b"}').attributes == {"a": "b"}


def test_a_value_may_hold_equals_signs_and_be_empty() -> None:
    assert values_of(LlmEvent, ["endpoint=/v1?a=b", "prompt_hash="]) == {
        "endpoint": "/v1?a=b",
        "prompt_hash": "",
    }


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        (["model=a", "model=b"], "'model' is given twice"),
        (["attributes={}", "attributes.a=b", "attributes.a=c"], "given twice"),
        (["model=a", "model.b=c"], "given twice"),
        (["=x"], "not FIELD=VALUE"),
    ],
)
def test_what_contradicts_itself_is_refused(fields: list[str], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        values_of(LlmEvent, fields)


def test_lines_become_events_and_empty_ones_are_passed_over() -> None:
    lines = ['{"model": "a", "duration": 1.5}\n', "\n", '{"type": "llm.call", "source": "s"}\n']
    first, second = _lines(LlmEvent, "llm.call", lines)
    assert isinstance(first, LlmEvent)
    assert first.duration == timedelta(seconds=1.5)
    assert (first.source, second.source) == (SOURCE, "s")


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("{", "line 2: not JSON"),
        ("[]", "line 2: not a JSON object"),
        ('{"type": "llm.stream"}', "line 2: type is 'llm.stream', not 'llm.call'"),
        ('{"input_tokens": -1}', "line 2: input_tokens=-1"),
        ('{"tokens": 1}', "line 2: LlmEvent has no field 'tokens'"),
    ],
)
def test_a_wrong_line_is_named_by_its_number(line: str, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        list(_lines(LlmEvent, "llm.call", ["{}", line]))
