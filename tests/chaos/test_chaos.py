"""Exact windows whatever happens: the short form of `python -m tests.chaos.run`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from nilo_deploy import status
from nilo_schemas.catalogue_files import load_catalogue
from nilo_schemas.families import LlmEvent
from nilo_schemas.settings import Settings
from nilo_stream_processors.engine.partials import SCHEMA
from nilo_stream_processors.frames import from_frame
from tests.chaos.compare import differences
from tests.chaos.expected import to_microseconds
from tests.chaos.faults import to_stderr
from tests.chaos.idle import measure_idle_close
from tests.chaos.load import START, Load, Sender
from tests.chaos.observed import Observed
from tests.chaos.round import read_back, run_round, wait_until_right, wrong_letters
from tests.chaos.schedule import short_plan
from tests.integration.programs import free_port, running, wait_for
from tests.integration.windows import newest_windows, read_topic

pytestmark = pytest.mark.integration
GRACE = 30.0
CALLS = ("llm.calls", "10s")
MODELS = 3


@pytest.fixture
def short_grace(settings: Settings) -> Settings:
    """Settings with which lag would soon make an event late, if it could."""
    return settings.model_copy(update={"grace": GRACE})


def test_windows_and_alerts_are_exact_though_workers_and_broker_die_under_load(
    short_grace: Settings, tmp_path: Path
) -> None:
    """A worker is killed, one stopped for longer than its session, one joins, one leaves."""
    plan = short_plan(broker=bool(status(short_grace).servers))

    outcome = run_round(short_grace, plan, Load(1500, 42, "short"), tmp_path, to_stderr)

    assert outcome.differences == []
    assert outcome.conflicts == []
    assert outcome.late > 0
    assert outcome.windows > 500
    assert outcome.alerts > 20


def test_a_silent_stream_closes_its_last_window(settings: Settings, tmp_path: Path) -> None:
    _, wrong = measure_idle_close(settings, tmp_path, to_stderr)

    assert wrong == []


Timed = tuple[int, float]  # partition, seconds after START


def test_a_reader_that_catches_up_on_partitions_of_different_times_calls_no_event_late(
    short_grace: Settings, tmp_path: Path
) -> None:
    """A backlog of four partitions whose times lie up to an hour apart.

    Read one after the other, an event is by far older than what was read of another partition.
    """
    send(short_grace, backlog())

    assert wrong_after_reading(short_grace, tmp_path) == []


def test_what_an_idle_partition_brings_when_its_windows_are_forgotten_is_kept_as_late(
    short_grace: Settings, tmp_path: Path
) -> None:
    """Partition 0 falls silent at 5 s and wakes when the windows of the others are long gone.

    By its own events it is in time, so stage 1 takes it. Stage 2 no longer has these windows: what
    it cannot add to them lies among the dead letters, to the last event.
    """
    observed = Observed(short_grace)

    def is_final(seconds: int) -> bool:
        # Of every model: they lie in several partitions of partials, each of which forgets alone.
        observed.read_on()
        start = to_microseconds(START + timedelta(seconds=seconds))
        keys = [key for key in observed.newest_final() if key.start == start]
        return sum((key.metric, key.length) == CALLS for key in keys) == MODELS

    with running(short_grace, "process", "--metrics-port", free_port(), log=tmp_path / "log"):
        send(short_grace, ((partition, second) for second in range(5) for partition in range(4)))
        wait_for("the first window", lambda: is_final(0))
        send(short_grace, ((1 + n % 3, 5 + n) for n in range(1000)))
        wait_for("the windows of the others", lambda: is_final(980))
        send(short_grace, ((0, 10 + n / 3) for n in range(100)))
        wait_for("all of them", lambda: calls_in_windows(short_grace) + late(short_grace) == 1120)
    observed.close()

    assert late(short_grace) > 0


def calls_in_windows(settings: Settings) -> int:
    """The calls in the newest state of all windows of ten seconds."""
    windows = newest_windows(settings).items()
    return sum(w.count for (metric, length, *_), w in windows if (metric, length) == CALLS)


def late(settings: Settings) -> int:
    """The calls in partials among the dead letters: of each pane of the one source the largest.

    They are snapshots, which grow. Dead letters of one pane may lie in several partitions, so the
    last one read need not be the newest.
    """
    largest: dict[tuple[str, int], int] = {}
    for message in read_topic(settings, "dlq.metrics.partials"):
        batch, _ = from_frame(message.value(), SCHEMA)
        for row in batch.to_pylist():
            if row["metric"] == CALLS[0]:
                pane = row["series"], row["start"]
                largest[pane] = max(row["count"], largest.get(pane, 0))
    return sum(largest.values())


def backlog() -> Iterator[Timed]:
    """Twenty minutes in each partition: together, a bit later, an hour later, and sparse."""
    for partition, (begin, count) in enumerate(
        [(0, 15_000), (600, 15_000), (3600, 9_000), (0, 40)]
    ):
        for number in range(count):
            # Every third is out of order by less than two seconds.
            yield partition, begin + 1200 * number / count - (1.5 if number % 3 == 0 else 0)


def send(settings: Settings, events: Iterable[Timed]) -> None:
    sender = Sender(settings)
    for number, (partition, seconds) in enumerate(events):
        event = LlmEvent(
            type="llm.call",
            source="chaos",
            subject=f"s{number % 7}",
            model=f"m{number % MODELS}",
            time=START + timedelta(seconds=seconds),
            duration=timedelta(microseconds=number),
        )
        sender.send(partition, event)
    sender.finish()


def wrong_after_reading(settings: Settings, logs: Path) -> list[str]:
    """Let one worker read what there is; return what is wrong then."""
    with running(settings, "process", "--metrics-port", free_port(), log=logs / "process.log"):
        return wrong_when_settled(settings)


def wrong_when_settled(settings: Settings) -> list[str]:
    """Wait until all windows are right or nothing comes any more; return what is wrong."""
    catalogue = load_catalogue(settings.catalogue)
    expected, observed = read_back(settings, catalogue), Observed(settings)

    def wrong() -> list[str]:
        return differences(expected.windows, observed.newest_final(), catalogue)

    wait_until_right(observed, wrong, lambda: None)
    observed.close()
    return wrong() + observed.conflicts + wrong_letters(settings, expected)
