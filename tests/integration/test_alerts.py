"""Alerts from events: real workers on the real broker, killed and started again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from nilo_consumers.alerts.board import Board
from nilo_producers import Producer
from nilo_schemas.alerts import Alert
from nilo_schemas.codec import decode
from nilo_schemas.families import LlmEvent
from nilo_schemas.registry import Registry
from nilo_schemas.settings import Settings
from tests.alerts import published
from tests.integration.programs import free_port, healthy, running, wait_for
from tests.integration.windows import read_topic

pytestmark = pytest.mark.integration
START = datetime(2026, 1, 1, tzinfo=UTC)
CATALOGUE = """
metrics:
  own.duration:
    description: Calls of {model}
    owner: o
    event: events.llm
    value: duration
    unit: seconds
    dimensions: [model]
    windows: [10s]
    aggregates: [count, mean]
    alerts:
      - name: OwnSlow
        when: mean > 2s
        clear: mean < 1s
        for: 2 windows
        severity: warning
        summary: "{model} is slow"
      - {name: OwnSilent, no_data: 20s, severity: critical, hides: [OwnSlow], equal: [model]}
  own.failures:
    description: Calls that failed
    owner: o
    event: events.llm
    where: {status: ERROR}
    dimensions: [source, model]
    windows: [10s]
    aggregates: [count]
    alerts:
      - {name: OwnFailing, ratio: count / own.duration.count > 20%, severity: critical}
"""


def calls(first: int, last: int) -> Iterator[LlmEvent]:
    """Two models, ten calls a second each, from one second after START to another.

    b is slow from 100 to 160, silent from 220 to 280; a third of its calls fail from 60 to 80.
    """
    for tenth in range(10 * first, 10 * last):
        second = tenth / 10
        for model in ("a", "b"):
            if model == "b" and 220 <= second < 280:
                continue
            slow = model == "b" and 100 <= second < 160
            failed = model == "b" and 60 <= second < 80 and tenth % 3 == 0
            yield LlmEvent(
                type="llm.call",
                time=START + timedelta(seconds=second),
                source="test",
                subject=f"s{tenth % 17}",
                model=model,
                status="ERROR" if failed else "OK",
                duration=timedelta(seconds=3 if slow else 0.5),
            )


def emit(settings: Settings, events: Iterable[LlmEvent]) -> None:
    with Producer(settings) as producer:
        for event in events:
            producer.emit(event)


def story(alerts: Iterable[Alert]) -> list[tuple[int, str, str, str]]:
    """When, in seconds after START, which own rule, of which model, became what; each id once."""
    once = {alert.id: alert for alert in alerts if alert.rule.startswith("Own")}
    return sorted(
        (
            int((alert.time - START).total_seconds()),
            alert.rule,
            alert.labels["model"],
            str(alert.state),
        )
        for alert in once.values()
    )


EXPECTED = [
    (70, "OwnFailing", "b", "firing"),
    (90, "OwnFailing", "b", "resolved"),
    (110, "OwnSlow", "b", "pending"),
    (120, "OwnSlow", "b", "firing"),
    (170, "OwnSlow", "b", "resolved"),
    (240, "OwnSilent", "b", "firing"),
    (290, "OwnSilent", "b", "resolved"),
    (320, "OwnSilent", "a", "firing"),
    (320, "OwnSilent", "b", "firing"),
]


@pytest.fixture
def ruled(settings: Settings, tmp_path: Path) -> Settings:
    """Settings with a catalogue of rules."""
    folder = tmp_path / "catalogue"
    folder.mkdir()
    (folder / "own.yaml").write_text(CATALOGUE)
    return settings.model_copy(update={"catalogue": folder})


def test_events_become_alerts_whoever_dies_meanwhile_and_each_says_where_it_comes_from(
    ruled: Settings, tmp_path: Path
) -> None:
    port, log = free_port(), tmp_path / "worker.log"
    words = ("process", "--metrics-port", port)
    with running(ruled, *words, log=log) as worker:
        wait_for("worker", lambda: healthy(port))
        emit(ruled, calls(0, 115))
        wait_for("first alerts", lambda: len(story(published(ruled))) >= 3)
        worker.kill()
        worker.wait()
    emit(ruled, calls(115, 300))
    with running(ruled, *words, log=log):
        wait_for("the other alerts", lambda: len(story(published(ruled))) >= len(EXPECTED))

    alerts = published(ruled)
    assert story(alerts) == EXPECTED
    events = _events(ruled)
    for alert in alerts:
        if alert.state == "firing":
            assert alert.samples, alert.id
            assert {events[each].model for each in alert.samples} == {alert.labels["model"]}
            _assert_the_sources_hold(alert, events)
    board = Board(ruled)
    board.refresh()
    newest = {alert.rule + alert.labels["model"]: alert for alert in board.alerts.values()}
    assert newest["OwnSilentb"].state == "firing"
    assert newest["OwnSlowb"].summary == "b is slow"


def _events(settings: Settings) -> dict[str, LlmEvent]:
    schema = Registry(settings).schema
    found = (decode(each.value(), LlmEvent, schema) for each in read_topic(settings, "events.llm"))
    return {event.id: event for event in found}


def _assert_the_sources_hold(alert: Alert, events: dict[str, LlmEvent]) -> None:
    assert alert.sources
    for sample in alert.samples:
        seconds = (events[sample].time - START).total_seconds()
        assert (alert.starts_at - START).total_seconds() - 30 <= seconds
        assert seconds <= (alert.time - START).total_seconds()
