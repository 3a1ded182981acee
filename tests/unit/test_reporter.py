"""What our programs say about themselves, and that the catalogue measures it."""

from __future__ import annotations

from collections import Counter

import pytest

from nilo_schemas.catalogue import Condition
from nilo_schemas.catalogue_files import load_catalogue
from nilo_schemas.errors import Reason
from nilo_schemas.reports import counts_and_lag
from nilo_stream_processors.counters import Counters
from nilo_stream_processors.liveness import Stuck
from nilo_stream_processors.reporter import health_events


def test_one_event_stands_for_all_that_were_counted() -> None:
    counted = Counter({("events_in", "events.llm"): 1234})
    events = counts_and_lag("processors", counted, {"events.llm": 7})

    assert [(e.subject, e.attributes["measure"], e.sample_rate, e.queue_depth) for e in events] == [
        ("events.llm", "events_in", 1234, None),
        ("events.llm", "lag", 1, 7),
    ]


def test_the_reports_do_not_report_on_themselves() -> None:
    counted = Counter({("events_in", "events.system"): 5})

    assert counts_and_lag("processors", counted, {"events.system": 3, "events.ui": 0}) == []


def test_each_dead_letter_is_counted_in_one_measure() -> None:
    counters = Counters()
    for reason in Reason:
        counters.dead_letter("events.llm", reason)

    assert counters.totals == {
        ("late", "events.llm"): 1,
        ("future", "events.llm"): 1,
        ("dead_letters", "events.llm"): len(Reason) - 2,
    }


@pytest.mark.parametrize(("ok", "status"), [(False, "stuck"), (True, "ok")])
def test_who_is_stuck_is_told_once_for_each_topic(ok: bool, status: str) -> None:
    stuck = [
        Stuck("t1.events.llm/3", 70.0, 12),
        Stuck("t1.events.llm/0", 61.0, 1),
        Stuck("rebalance", 60.0, None),
    ]
    events = health_events(stuck, "t1.", ok=ok)

    assert [(e.type, e.component, e.subject, e.status) for e in events] == [
        ("health.changed", "processors", "events.llm", status),
        ("health.changed", "processors", "rebalance", status),
    ]
    assert (events[0].message or "").startswith("t1.events.llm/3 (no progress for 70 s, 12 mess")


def test_the_catalogue_measures_what_is_reported() -> None:
    measured = {
        condition.any_of[0]
        for name, metric in load_catalogue().metrics.items()
        if name.startswith("pipeline.")
        for condition in [metric.where.get("attributes.measure", Condition(any_of=["health"]))]
    }

    assert measured == {
        *("events_in", "late", "future", "dead_letters", "lag"),
        *("dropped", "queue_fill", "health"),
    }
