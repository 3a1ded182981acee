"""Files played into the real broker: everything arrives, also when the broker goes away."""

from __future__ import annotations

import signal
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from nilo_deploy import start_server, stop_server
from nilo_producers import Played, Progress, RowError, play
from nilo_schemas.codec import decode
from nilo_schemas.families import LlmEvent
from nilo_schemas.registry import Registry
from nilo_schemas.settings import Settings
from tests.integration.test_producer import messages_in

pytestmark = [pytest.mark.integration, pytest.mark.topics("events.llm")]
MAP = {"time": "at:+ms", "input_tokens": "n", "duration": "ms:ms", "subject": "'k{n}'"}


def write_rows(path: Path, count: int, spoilt: dict[int, str] | None = None) -> Path:
    """A CSV of calls a millisecond apart; `spoilt` rows (from 1) have this for a duration."""
    spoilt = spoilt or {}
    lines = [f"{n},{n},{spoilt.get(n, '2.5')}\n" for n in range(1, count + 1)]
    path.write_text("at,n,ms\n" + "".join(lines))
    return path


def events_in(settings: Settings) -> list[LlmEvent]:
    registry = Registry(settings)
    return [
        decode(message.value(), LlmEvent, registry.schema)
        for message in messages_in(settings, "events.llm")
    ]


def played(settings: Settings, file: Path, **more: Any) -> Played:
    return play(settings, file, event_type="llm.call", mapping=MAP, **more)


def test_every_row_arrives_once(settings: Settings, tmp_path: Path) -> None:
    seen: list[Progress] = []
    result = played(settings, write_rows(tmp_path / "x.csv", 2500), progress=seen.append)

    events = events_in(settings)
    assert Counter(event.input_tokens for event in events) == Counter(range(1, 2501))
    assert len({event.id for event in events}) == 2500
    assert {event.duration for event in events} == {timedelta(microseconds=2500)}
    assert (result.rows, result.delivered, result.skipped) == (2500, 2500, 0)
    assert result.topic == f"{settings.topic_prefix}events.llm"
    assert [state.rows for state in seen] == [1000, 2000, 2500]


def test_a_file_played_twice_is_twice_as_many_events(settings: Settings, tmp_path: Path) -> None:
    file = write_rows(tmp_path / "x.csv", 10)

    played(settings, file)
    played(settings, file)

    assert len({event.id for event in events_in(settings)}) == 20


def test_a_bad_row_stops_the_play_and_the_rows_before_it_are_there(
    settings: Settings, tmp_path: Path
) -> None:
    file = write_rows(tmp_path / "x.csv", 10, {6: "slow"})

    with pytest.raises(RowError, match=r"row 6 of x\.csv.*'slow'.*5 rows before it") as caught:
        played(settings, file)

    assert caught.value.row == 6
    assert sorted(event.input_tokens or 0 for event in events_in(settings)) == [1, 2, 3, 4, 5]


def test_bad_rows_can_be_skipped_and_are_counted(settings: Settings, tmp_path: Path) -> None:
    file = write_rows(tmp_path / "x.csv", 20, dict.fromkeys(range(1, 8), "slow"))

    result = played(settings, file, bad_rows="skip")

    assert (result.rows, result.delivered, result.skipped) == (20, 13, 7)
    assert len(result.reasons) == 5
    assert "row 1 of x.csv" in result.reasons[0]
    assert len(events_in(settings)) == 13


def test_a_shifted_trace_ends_at_the_given_time(settings: Settings, tmp_path: Path) -> None:
    end = datetime(2026, 5, 1, 12, tzinfo=UTC)

    result = played(settings, write_rows(tmp_path / "x.csv", 100), shift_time=end)

    times = sorted(event.time for event in events_in(settings))
    assert times[-1] == end == result.last_time
    assert times[0] == end - timedelta(milliseconds=99) == result.first_time


def test_a_paced_play_takes_its_time_and_nothing_lies_in_the_future(
    settings: Settings, tmp_path: Path
) -> None:
    """Rows of one second take no less than half of one at 2x."""
    file = tmp_path / "x.csv"
    file.write_text("at,n,ms\n" + "".join(f"{n * 100},{n},1\n" for n in range(11)))
    begin = datetime.now(UTC)

    result = played(settings, file, speed="2x", shift_time=begin)

    assert result.seconds >= 0.5
    assert result.last_time == begin + timedelta(seconds=0.5)
    for message in messages_in(settings, "events.llm"):
        event = decode(message.value(), LlmEvent, Registry(settings).schema)
        # Kafka's timestamp is the sending, cut to milliseconds.
        assert event.time.timestamp() * 1000 <= message.timestamp()[1] + 1


def test_a_limit_is_kept(settings: Settings, tmp_path: Path) -> None:
    assert played(settings, write_rows(tmp_path / "x.csv", 50), limit=7).delivered == 7
    assert len(events_in(settings)) == 7


def test_a_broker_lost_during_a_play_loses_and_doubles_nothing(
    own_stack: Settings, tmp_path: Path
) -> None:
    #   rows   0 ────── 20,000 ═══ no broker ═══ 40,000 ────── 60,000
    def disturb(state: Progress) -> None:
        if state.rows == 20_000:
            stop_server(own_stack.home, "kafka-1", signal.SIGKILL)
        if state.rows == 40_000:
            start_server(own_stack.home, "kafka-1")

    result = played(own_stack, write_rows(tmp_path / "x.csv", 60_000), progress=disturb)

    assert (result.delivered, result.skipped) == (60_000, 0)
    assert Counter(e.input_tokens for e in events_in(own_stack)) == Counter(range(1, 60_001))
