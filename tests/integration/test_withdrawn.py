"""Sessions that were joined, from the event to every store: only the longer one is there."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from nilo_consumers import windows_parquet, windows_postgres
from nilo_producers import Producer
from nilo_schemas.families import LlmEvent
from nilo_schemas.settings import Settings
from tests.integration.programs import free_port, nilo, running, wait_for
from tests.integration.sinking import Running, query, sinking

pytestmark = pytest.mark.integration
START = datetime(2026, 1, 1, tzinfo=UTC)
VISITS = """
metrics:
  visits:
    description: Calls of a session
    owner: test
    event: events.llm
    where: {type: llm.call}
    dimensions: [session_id]
    windows: [session 1m]
    aggregates: [count]
"""
LABELS = {"session_id": "x"}


@pytest.fixture
def visiting(settings: Settings, tmp_path: Path) -> Settings:
    """Settings with a metric of sessions, which are final a second after the last event."""
    folder = tmp_path / "catalogue"
    folder.mkdir()
    (folder / "visits.yaml").write_text(VISITS)
    return settings.model_copy(update={"catalogue": folder, "idle_after": 1.0})


def emit(settings: Settings, *seconds: float) -> None:
    with Producer(settings) as producer:
        for second in seconds:
            time = START + timedelta(seconds=second)
            producer.emit(LlmEvent(type="llm.call", source="t", session_id="x", time=time))


def postgres(settings: Settings, **asked: Any) -> dict[float, int]:
    """The events of the current sessions in PostgreSQL, by seconds after START."""
    found = windows_postgres(settings, "visits", **asked)
    return {(each.window_start - START).total_seconds(): each.count for each in found}


def scraped(sink: Running) -> tuple[float | None, float | None]:
    """The events of the session that a scrape shows, and all that it has counted."""
    samples = sink.samples()
    shown = "nilo_visits_window_events", frozenset((LABELS | {"window": "session 1m"}).items())
    return samples.get(shown), samples.get(("nilo_visits_events_total", frozenset(LABELS.items())))


def test_a_session_that_was_joined_is_not_among_the_current_ones(
    visiting: Settings, tmp_path: Path
) -> None:
    """At 0 and 100 are two sessions; what comes at 50 makes them one."""
    log, port = tmp_path / "process.log", free_port()
    emit(visiting, 0, 100)
    with (
        running(visiting, "process", "--metrics-port", port, log=log),
        sinking("postgres", visiting),
        sinking("parquet", visiting),
        sinking("prometheus", visiting) as sink,
    ):
        wait_for("two sessions", lambda: postgres(visiting) == {0: 1, 100: 1})
        wait_for("their scrape", lambda: scraped(sink) == (1, 2))
        known = datetime.now(UTC)
        emit(visiting, 50)
        wait_for("one session", lambda: postgres(visiting) == {0: 3})
        wait_for("its scrape", lambda: scraped(sink) == (3, 3))
        wait_for(
            "one in the lake",
            lambda: windows_parquet(visiting, "visits") == windows_postgres(visiting, "visits"),
        )

    assert postgres(visiting, as_of=known) == {0: 1, 100: 1}
    told = nilo(visiting, "windows", "visits").stdout.splitlines()
    assert [json.loads(line)["count"] for line in told] == [3]
    kept = (
        "SELECT count FROM metrics_windows WHERE metric = 'visits' ORDER BY window_start, revision"
    )
    assert [row["count"] for row in query(visiting, kept)] == [1, 3, 1, 0]
