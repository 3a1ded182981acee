"""The simulated fleet: repeatable, and shaped as it says."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from statistics import median

import pytest

from nilo_producers import Incident, ProducerError, simulate
from nilo_producers.fleet import MODELS, daily_factor
from nilo_schemas.families import LlmEvent

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def events() -> list[LlmEvent]:
    return list(simulate(7, 1000, 20, NOON, Incident(begins=5, lasts=10)))


def _seconds(events: list[LlmEvent], model: str, begin: float, end: float) -> list[float]:
    return [
        event.duration.total_seconds()
        for event in events
        if event.model == model
        and event.duration
        and begin <= (event.time - NOON).total_seconds() < end
    ]


def test_a_seed_gives_the_same_events_and_another_seed_others(events: list[LlmEvent]) -> None:
    assert events == list(simulate(7, 1000, 20, NOON, Incident(begins=5, lasts=10)))
    assert events[0] != next(simulate(8, 1000, 20, NOON))


def test_every_event_is_valid_and_has_its_own_uuid7(events: list[LlmEvent]) -> None:
    assert [LlmEvent.model_validate(event.model_dump()) for event in events] == events
    assert len({event.id for event in events}) == len(events)
    assert {event.id[14] for event in events} == {"7"}
    assert {event.id[19] for event in events} <= set("89ab")


def test_times_rise_within_the_run(events: list[LlmEvent]) -> None:
    times = [event.time for event in events]

    assert times == sorted(times)
    assert times[0] >= NOON
    assert times[-1] < NOON + timedelta(seconds=20)


def test_the_rate_is_the_asked_one_times_the_rhythm_of_the_hour(events: list[LlmEvent]) -> None:
    assert len(events) == pytest.approx(20 * 1000 * daily_factor(NOON), rel=0.05)
    assert sum(daily_factor(NOON + timedelta(hours=h)) for h in range(24)) == pytest.approx(24)


def test_the_first_token_comes_before_the_last(events: list[LlmEvent]) -> None:
    firsts = [(e.time_to_first_token, e.duration) for e in events if e.time_to_first_token]

    assert firsts
    assert all(first < last for first, last in firsts if last)


def test_the_cost_follows_from_the_tokens(events: list[LlmEvent]) -> None:
    prices = {model.name: (model.input_price, model.output_price) for model in MODELS}
    for event in events:
        assert event.model
        assert event.cost is not None
        assert event.input_tokens is not None
        assert event.output_tokens is not None
        asked, answered = prices[event.model]
        assert event.cost * 10**9 == event.input_tokens * asked + event.output_tokens * answered


def test_an_incident_slows_its_model_down_and_only_while_it_lasts(events: list[LlmEvent]) -> None:
    #  0 ───── 5 ═════ incident ═════ 15 ───── 20
    before = median(_seconds(events, "atlas-large", 0, 5))
    within = median(_seconds(events, "atlas-large", 5, 15))
    after = median(_seconds(events, "atlas-large", 15, 20))
    other = median(_seconds(events, "atlas-small", 5, 15))

    assert within / before == pytest.approx(5, rel=0.15)
    assert after / before == pytest.approx(1, rel=0.15)
    assert other == pytest.approx(0.6, rel=0.1)


def test_an_incident_fails_three_in_ten_calls_of_its_model(events: list[LlmEvent]) -> None:
    def errors(begin: float, end: float) -> float:
        calls = [
            event
            for event in events
            if event.model == "atlas-large" and begin <= (event.time - NOON).total_seconds() < end
        ]
        return sum(event.status == "ERROR" for event in calls) / len(calls)

    assert errors(5, 15) == pytest.approx(0.3, abs=0.04)
    assert errors(0, 5) < 0.04


def test_a_fallback_names_the_model_that_was_to_answer(events: list[LlmEvent]) -> None:
    fallbacks = [event for event in events if event.status == "FALLBACK"]

    assert fallbacks
    assert all(e.fallback_from and e.fallback_from != e.model for e in fallbacks)
    assert all(e.fallback_from is None for e in events if e.status != "FALLBACK")


@pytest.mark.parametrize(
    ("rate", "start", "incident", "named"),
    [
        (0, NOON, None, "rate 0"),
        (float("nan"), NOON, None, "rate nan"),
        (1, NOON.replace(tzinfo=None), None, "no time zone"),
        (1, NOON, Incident(model="gpt"), "no model 'gpt'"),
    ],
)
def test_what_cannot_be_simulated_is_refused(
    rate: float, start: datetime, incident: Incident | None, named: str
) -> None:
    with pytest.raises(ProducerError, match=named):
        simulate(1, rate, 1, start, incident)
