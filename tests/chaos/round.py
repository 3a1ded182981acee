"""One round: workers under load, faults, and then the comparison of every window."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from nilo_schemas.catalogue import Catalogue
from nilo_schemas.catalogue_files import load_catalogue
from nilo_schemas.families import LlmEvent
from nilo_schemas.settings import Settings
from tests.chaos.alerts import CATALOGUE, wrong_alerts
from tests.chaos.compaction import compact_often, compacted
from tests.chaos.compare import differences
from tests.chaos.expected import Expected, Row
from tests.chaos.faults import Fleet, Say, Strike, fleet
from tests.chaos.load import Feeder, Load
from tests.chaos.observed import Observed, dead_letters
from tests.chaos.progress import Progress, Sample, caught_up
from tests.chaos.reading import Decoder, TopicReader
from tests.chaos.schedule import Plan

TOPIC = LlmEvent.kafka_topic
STUCK_AFTER = 60.0  # seconds without any new window, though windows are missing
POLL = 0.5


@dataclass
class Outcome:
    """What became of a round; times are in seconds.

    `differences` says what is wrong with windows or dead letters, line by line; `settled` is the
    time from the end of the stream and of the last fault to the last right window; None when that
    never came. `compacted` counts the messages of state that the broker took out of the log.
    """

    events: int = 0
    windows: int = 0
    late: int = 0
    alerts: int = 0
    compacted: int = 0
    differences: list[str] = field(default_factory=list)
    conflicts: list[str] = field(default_factory=list)
    published: Counter[str] = field(default_factory=Counter)
    catch_ups: dict[str, list[float]] = field(default_factory=dict)
    never_caught_up: int = 0
    settled: float | None = None
    own_ends: list[str] = field(default_factory=list)
    stops: list[float] = field(default_factory=list)


def run_round(settings: Settings, plan: Plan, load: Load, logs: Path, say: Say) -> Outcome:
    """Run one round on topics that nobody else uses, with rules of its own.

    Args:
        settings: its prefix has topics and contracts, empty so far.
        logs: folder for what the workers print.
    """
    compact_often(settings)
    settings = settings.model_copy(update={"catalogue": CATALOGUE})
    outcome, feeder, progress = Outcome(), Feeder(settings, load), Progress(settings, TOPIC)
    with fleet(settings, logs, say) as workers:
        feeder.start()
        progress.start()
        try:
            workers.carry_out(plan, time.monotonic())
            sent = feeder.finish()
            say(f"  {sent:,} events are in Kafka")
            settle(settings, outcome, workers, say)
        finally:
            progress.stop()
    if outcome.events != sent:
        outcome.differences.append(f"{sent} events were acknowledged, {outcome.events} are there")
    outcome.own_ends, outcome.stops = workers.ends, workers.stops
    _note_catch_ups(outcome, workers.strikes, progress.samples)
    return outcome


def _note_catch_ups(outcome: Outcome, strikes: Iterable[Strike], samples: Sequence[Sample]) -> None:
    for strike in strikes:
        deed = strike.action.deed
        if deed in ("start", "continue", "broker up"):
            continue
        seconds = caught_up(samples, strike.when)
        outcome.never_caught_up += seconds is None
        if seconds is not None:
            outcome.catch_ups.setdefault(deed, []).append(seconds)


def settle(settings: Settings, outcome: Outcome, workers: Fleet, say: Say) -> None:
    """Wait until every window is as it must be, or nothing comes any more; stop the workers.

    What they publish while they stop must change nothing.
    """
    begin, catalogue = time.monotonic(), load_catalogue(settings.catalogue)
    expected, observed = read_back(settings, catalogue), Observed(settings)

    def wrong() -> list[str]:
        return differences(expected.windows, observed.newest_final(), catalogue)

    if wait_until_right(observed, wrong, workers.supervise):
        outcome.settled = time.monotonic() - begin
    workers.stop()
    observed.read_on()
    observed.close()
    outcome.differences += wrong() + wrong_letters(settings, expected)
    outcome.conflicts = observed.conflicts
    outcome.published = observed.counts
    outcome.events, outcome.windows = expected.events, len(expected.windows)
    outcome.late, outcome.compacted = len(expected.late), compacted(settings)
    outcome.alerts, wrong_ones = wrong_alerts(settings)
    outcome.differences += wrong_ones
    say(
        f"  {outcome.windows:,} windows and {outcome.alerts:,} transitions of alerts compared, "
        f"{len(outcome.differences)} differences"
    )


def wait_until_right(
    observed: Observed, wrong: Callable[[], list[str]], supervise: Callable[[], None]
) -> bool:
    """Read windows until nothing is wrong; False when nothing comes any more and it still is."""
    changed = time.monotonic()
    while time.monotonic() - changed < STUCK_AFTER:
        supervise()
        if observed.read_on():
            changed = time.monotonic()
        if not wrong():
            return True
        time.sleep(POLL)
    return False


def read_back(settings: Settings, catalogue: Catalogue) -> Expected:
    """The windows of all events that are in Kafka now."""
    expected = Expected(catalogue, TOPIC, settings.out_of_orderness, settings.grace)
    reader, decode = TopicReader(settings, TOPIC), Decoder(settings)
    for message in reader.news():
        partition, offset, value = message.partition(), message.offset(), message.value()
        assert partition is not None
        assert offset is not None
        assert value is not None
        expected.take([Row(partition, offset, decode(value))])
    reader.close()
    return expected


def wrong_letters(settings: Settings, expected: Expected) -> list[str]:
    """What is wrong with the dead letters: each late event is one, and nothing else is."""
    found = set(dead_letters(settings, TOPIC))
    wanted = {("late", *place) for place in expected.late}
    return [
        *(f"dead letter {letter} should not be" for letter in sorted(found - wanted)),
        *(f"no dead letter {letter}" for letter in sorted(wanted - found)),
    ]
