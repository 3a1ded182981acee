"""`nilo sink` under measurement."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from nilo_deploy.ports import free_port
from nilo_schemas.settings import Settings
from tests.bench.measure import Measured, Run, Sample, started, wait_until
from tests.bench.stream import Stream
from tests.bench.topic import TOPIC

LOOK_EVERY = 0.1  # seconds; each look costs the sink a millisecond
_STORED = re.compile(
    rf'^nilo_stored_events_total{{[^}}]*topic="[^"]*{re.escape(TOPIC)}"[^}}]*}} (\S+)', re.MULTILINE
)


@dataclass(frozen=True)
class RunningSink:
    """A running sink and its page."""

    measured: Measured
    port: int

    def sample(self) -> Sample:
        """How it stands now, with the rows stored so far."""
        return self.measured.sample(self._stored())

    def _stored(self) -> int:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=5) as page:
                found = _STORED.search(page.read().decode())
        except (urllib.error.HTTPError, OSError):
            return 0
        return int(float(found[1])) if found else 0


@contextlib.contextmanager
def sinking(settings: Settings, name: str) -> Iterator[RunningSink]:
    """A sink until the end of the block; then it stops in good order."""
    port = free_port()
    command = [sys.executable, "-m", "nilo_cli", "sink", name, "--metrics-port", str(port)]
    environment = os.environ | settings.environment()
    with started(command, environment, settings.home / f"sink-{name}.log") as measured:
        yield RunningSink(measured, port)


def work_off(settings: Settings, name: str, stream: Stream) -> Run:
    """A new sink stores the whole topic: its rate as in `rated`."""
    with sinking(settings, name) as sink:
        return rated(sink.sample, stream)


def rated(sample: Callable[[], Sample], stream: Stream) -> Run:
    """The run from the first batch stored to the last but one; waits for all.

    The last batch waits for company that does not come.
    """
    samples: list[Sample] = []

    def all_there() -> bool:
        time.sleep(LOOK_EVERY)
        samples.append(sample())
        return samples[-1].events >= stream.events

    wait_until(all_there, "all events are stored")
    begin = next(each for each in samples if each.events > 0)
    last = max(each.events for each in samples if each.events < stream.events)
    end = next(each for each in samples if each.events >= last)
    return Run.between(begin, end)
