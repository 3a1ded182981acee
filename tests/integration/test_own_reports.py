"""What our programs say about themselves, on the real broker."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from nilo_schemas.codec import decode
from nilo_schemas.families import SystemEvent
from nilo_schemas.registry import Registry
from nilo_schemas.settings import Settings
from tests.integration.conformance.tables import Postgres
from tests.integration.programs import wait_for
from tests.integration.sinking import calls, sinking, wait_count
from tests.integration.windows import read_topic

pytestmark = pytest.mark.integration


@pytest.fixture
def talking(settings: Settings) -> Settings:
    """Settings with which programs report on themselves, and often."""
    return settings.model_copy(update={"report_every": 0.3})


def own_reports(settings: Settings) -> Iterator[SystemEvent]:
    """What is on `events.system` now, by partition and offset."""
    schema = Registry(settings).schema
    for message in read_topic(settings, SystemEvent.kafka_topic):
        yield decode(message.value(), SystemEvent, schema)


def health(settings: Settings) -> list[SystemEvent]:
    """How the sink said that it was, one after the other."""
    found = [event for event in own_reports(settings) if event.type == "health.changed"]
    assert {(event.component, event.source) for event in found} <= {("sink-postgres", "nilometer")}
    return found


def is_away(event: SystemEvent) -> bool:
    return event.status == "failing" and "PostgreSQL" in (event.message or "")


def test_a_sink_tells_of_its_database_that_is_away_and_when_it_is_back(
    talking: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = Postgres(talking, monkeypatch)
    with sinking("postgres", talking) as sink:
        calls(talking, 100)
        wait_count("postgres", talking, 100)
        with case.away():
            calls(talking, 100)
            wait_for("trouble is told", lambda: any(map(is_away, health(talking))))
        wait_count("postgres", talking, 200)
        wait_for("it is well", lambda: health(talking)[-1].status == "ok")
        wait_for("rows told", lambda: stored(talking) == 200)
        assert sink.thread.is_alive()


def stored(settings: Settings) -> int:
    """How many calls the sink says that it has stored."""
    return sum(
        event.sample_rate
        for event in own_reports(settings)
        if (event.subject, event.attributes.get("measure")) == ("events.llm", "events_in")
    )


def test_a_sink_that_stores_its_own_reports_falls_silent(talking: Settings) -> None:
    """The reports are rows too, and so are their windows: nobody may tell of these."""
    with sinking("sqlite", talking):
        calls(talking, 10)
        wait_count("sqlite", talking, 10)
        wait_for("rows told", lambda: stored(talking) == 10)
        told = wait_for("a row of it", lambda: count(talking))
        wait_count("sqlite", talking, told, SystemEvent.kafka_topic)
        calls(talking, 5)
        wait_for("the others told", lambda: stored(talking) == 15)

    events = [event for event in own_reports(talking) if event.type == "resource.sampled"]
    assert {event.subject for event in events} == {"events.llm"}


def count(settings: Settings) -> int:
    """How many reports there are."""
    return len(list(own_reports(settings)))
