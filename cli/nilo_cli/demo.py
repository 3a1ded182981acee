"""`nilo demo`: everything in one go, ending with counts that were read back from every store."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from nilo_cli.demo_alerts import show_alerts
from nilo_cli.demo_children import Children
from nilo_cli.demo_count import Tally, before_run, scraped, tally
from nilo_cli.demo_view import (
    LiveWindows,
    show_certificate,
    show_counts,
    show_incident,
    show_next_steps,
)
from nilo_consumers.audit.reconcile import Range, reconcile
from nilo_consumers.tables import WINDOWS
from nilo_deploy import external, up
from nilo_producers import Producer
from nilo_producers.fleet import Incident, daily_factor, simulate
from nilo_schemas.families import LlmEvent, family_of_type
from nilo_schemas.registry import Registry
from nilo_schemas.settings import Settings, load_settings
from nilo_schemas.topics import create_topics

SETTLE_SECONDS = 45.0
POLL_SECONDS = 0.5
SCRAPED = "nilo_llm_duration_p95_seconds"


class Feed(threading.Thread):
    """Emits the demo's events in the background; `error` holds what went wrong."""

    def __init__(self, settings: Settings, events: Any) -> None:
        super().__init__(name="demo-feed", daemon=True)
        self._settings, self._events = settings, events
        self.emitted = 0
        self.error: Exception | None = None

    def run(self) -> None:
        """Emit all events, each not before its time."""
        try:
            with Producer(self._settings) as producer:
                for event in self._events:
                    ahead = event.time.timestamp() - time.time()
                    if ahead > 0:
                        time.sleep(ahead)
                    producer.emit(event)
                    self.emitted += 1
        except Exception as error:
            self.error = error  # raised again by the main thread, which owns the screen


class FileFeed(Feed):
    """Plays a file instead."""

    def run(self) -> None:
        """Play the file as fast as it goes, shifted so that it ends now."""
        from nilo_producers import play  # noqa: PLC0415  pyarrow is not needed for the fleet

        try:
            result = play(self._settings, self._events, shift_time=datetime.now(UTC))
            self.emitted = result.delivered
        except Exception as error:
            self.error = error  # raised again by the main thread, which owns the screen


def run_demo(
    flags: dict[str, Any], *, input_file: Path | None, rate: int, seconds: int, seed: int
) -> int:
    """Run the demo and return the exit code: 0 when counts agree and the ledger is clean, else 1.

    Args:
        flags: settings given on the command line.
        input_file: a trace to play instead of the simulated fleet.
        rate: events per second of the fleet.
        seconds: how long the fleet runs.
        seed: of the fleet.
    """
    console = Console()
    settings = _start(flags, console)
    topic = _topic(input_file)
    with _children(settings, console) as children, LiveWindows(settings, console) as view:
        before = before_run(settings, topic)
        feed = _feed(settings, input_file, rate=rate, seconds=seconds, seed=seed)
        feed.start()
        while feed.is_alive():
            children.check()
            view.update(f"{feed.emitted:,} events emitted")
            time.sleep(POLL_SECONDS)
        if feed.error:
            raise feed.error
        counts = _settle(
            lambda: tally(settings, topic, before, feed.emitted, fleet=input_file is None),
            children,
            view,
        )
        scrape = scraped(children.prometheus_url, SCRAPED)
    show_counts(console, counts)
    if input_file is None:
        show_incident(console, settings, before.time)
        show_alerts(console, settings, before.time)
    ledger = reconcile(settings, [topic, WINDOWS], within=Range(before.time))
    show_certificate(console, ledger)
    show_next_steps(console, settings, scrape)
    return 0 if counts.agree() and ledger.clean else 1


def _topic(input_file: Path | None) -> str:
    if input_file is None:
        return LlmEvent.kafka_topic
    from nilo_producers.mapping import resolve  # noqa: PLC0415  not needed for the fleet

    return family_of_type(resolve(input_file, None, None).type).kafka_topic


def _start(flags: dict[str, Any], console: Console) -> Settings:
    settings = load_settings(flags)
    up(settings, skip=external(settings), progress=lambda line: console.print(f"  {line}"))
    settings = load_settings(flags)
    for _ in create_topics(settings):
        pass
    for _ in Registry(settings).register_all():
        pass
    console.print("  topics are there and contracts are registered")
    return settings


@contextmanager
def _children(settings: Settings, console: Console) -> Iterator[Children]:
    with Children(settings) as children:
        console.print("  processors and sinks are starting")
        children.wait_ready()
        yield children


def _feed(
    settings: Settings, input_file: Path | None, *, rate: int, seconds: int, seed: int
) -> Feed:
    if input_file is not None:
        return FileFeed(settings, input_file)
    incident = Incident(begins=seconds / 3, lasts=seconds / 3)
    now = datetime.now(UTC)
    # The fleet's rate is a mean over its day; here it is to be the rate of this hour.
    return Feed(settings, simulate(seed, rate / daily_factor(now), seconds, now, incident))


def _settle(count: Callable[[], Tally], children: Children, view: LiveWindows) -> Tally:
    """Wait until every store holds what was emitted, or until the time for it is up."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while True:
        children.check()
        counts = count()
        view.update("waiting until every store has everything")
        if counts.agree() or time.monotonic() > deadline:
            return counts
        time.sleep(POLL_SECONDS)
