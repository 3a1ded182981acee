"""What the processors say about themselves."""

from __future__ import annotations

from collections import Counter

from nilo_schemas.catalogue_files import load_catalogue
from nilo_stream_processors.reporter import reports


def test_one_event_stands_for_all_that_were_counted() -> None:
    events = reports(Counter({("events_in", "events.llm"): 1234}), {"events.llm": 7})

    assert [(e.subject, e.attributes["measure"], e.sample_rate, e.queue_depth) for e in events] == [
        ("events.llm", "events_in", 1234, None),
        ("events.llm", "lag", 1, 7),
    ]


def test_the_reports_do_not_report_on_themselves() -> None:
    counted = Counter({("events_in", "events.system"): 5})

    assert reports(counted, {"events.system": 3, "events.ui": 0}) == []


def test_the_catalogue_measures_what_is_reported() -> None:
    metrics = load_catalogue().metrics

    for measure in ("events_in", "late", "dead_letters", "lag"):
        condition = metrics[f"pipeline.{measure}"].where["attributes.measure"]
        assert condition.any_of == [measure]
