"""What a sink says about itself: what changed, and its trouble for as long as it lasts."""

from __future__ import annotations

from nilo_consumers.metrics import SinkMetrics
from nilo_consumers.reporting import SinkReports
from nilo_schemas.families import SystemEvent

LLM, SYSTEM, WINDOWS = "t1.events.llm", "t1.events.system", "t1.metrics.windows"
Told = tuple[str, str | None, int]


def made() -> tuple[SinkMetrics, SinkReports]:
    metrics = SinkMetrics("postgres", "group")
    metrics.trouble = None
    return metrics, SinkReports("postgres", metrics, "t1.")


def told(events: list[SystemEvent]) -> list[Told]:
    """Measure or status, subject, and the number of each event."""
    assert {event.component for event in events} <= {"sink-postgres"}
    return [
        (
            event.attributes.get("measure") or str(event.status),
            event.subject,
            event.sample_rate if event.queue_depth is None else event.queue_depth,
        )
        for event in events
    ]


def test_counts_are_told_once_and_the_lag_of_what_is_busy() -> None:
    metrics, reports = made()
    metrics.stored(LLM, 500)
    metrics.dead(LLM, "corrupt")
    metrics.lag(LLM, 0, 3)
    metrics.lag(LLM, 1, 4)

    assert told(reports.due()) == [
        ("dead_letters", "events.llm", 1),
        ("events_in", "events.llm", 500),
        ("lag", "events.llm", 7),
    ]
    reports.sent()
    metrics.lag(LLM, 0, 0)
    metrics.lag(LLM, 1, 0)
    assert reports.due() == []


def test_what_could_not_be_sent_is_told_with_the_next() -> None:
    metrics, reports = made()
    metrics.stored(LLM, 500)
    reports.due()
    metrics.stored(LLM, 20)

    assert ("events_in", "events.llm", 520) in told(reports.due())


def test_the_reports_and_their_windows_are_nothing_to_report() -> None:
    metrics, reports = made()
    for topic in (SYSTEM, WINDOWS):
        metrics.stored(topic, 10)
        metrics.lag(topic, 0, 99)
    metrics.dead(SYSTEM, "corrupt")
    metrics.dead(WINDOWS, "refused")

    assert told(reports.due()) == [("dead_letters", "metrics.windows", 1)]


def test_trouble_is_told_while_it_lasts_and_once_when_it_is_over() -> None:
    metrics, reports = made()
    seen = []
    for trouble in (None, "no database", "no database", None, None):
        metrics.trouble = trouble
        seen.append([(event.status, event.message) for event in reports.due()])
        reports.sent()

    assert seen == [
        [],
        [("failing", "no database")],
        [("failing", "no database")],
        [("ok", None)],
        [],
    ]
