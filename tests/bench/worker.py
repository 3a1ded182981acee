"""`nilo process` under measurement."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass

from nilo_deploy.ports import free_port
from nilo_schemas.families import LlmEvent
from nilo_schemas.settings import Settings
from tests.bench.finals import Finals
from tests.bench.jobs import metrics_of, write_job
from tests.bench.measure import Measured, Outcome, Run, Sample, started, wait_until
from tests.bench.servers import reset
from tests.bench.stream import Stream

_CONSUMED = re.compile(
    rf'^nilo_consumed_events_total{{[^}}]*topic="{re.escape(LlmEvent.kafka_topic)}"[^}}]*}} (\S+)',
    re.MULTILINE,
)
# No window may close because a benchmark pauses, no series may fall under the cap, and no events
# of the processors about themselves may come between.
_SETTINGS = {
    "NILO_IDLE_AFTER": "3600",
    "NILO_SERIES_CAP": "1000000",
    "NILO_REPORT_EVERY": "0",
}


@dataclass(frozen=True)
class Worker:
    """A running worker and its page."""

    measured: Measured
    port: int

    def page(self, name: str) -> str | None:
        """What it serves under this name, also with an error code; None while nothing answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/{name}", timeout=5) as page:
                return str(page.read().decode())
        except urllib.error.HTTPError as error:
            return error.read().decode()
        except OSError:
            return None

    def consumed(self) -> int:
        """How many events it has taken in since its start."""
        found = _CONSUMED.search(self.page("metrics") or "")
        return int(float(found[1])) if found else 0

    def sample(self) -> Sample:
        """How it stands now."""
        return self.measured.sample(self.consumed())

    def wait_for_events(self) -> Sample:
        """The first moment with events taken in."""
        seen: list[Sample] = []

        def taking() -> bool:
            seen.append(self.sample())
            return seen[-1].events > 0

        wait_until(taking, "the worker takes events")
        return seen[-1]


@contextlib.contextmanager
def working(settings: Settings, job: str) -> Iterator[Worker]:
    """A worker with a job of `jobs` until the end of the block."""
    port, catalogue = free_port(), write_job(job, settings.home / "catalogues")
    mine = settings.model_copy(update={"catalogue": catalogue})
    command = [sys.executable, "-m", "nilo_cli", "process", "--metrics-port", str(port)]
    environment = os.environ | mine.environment() | _SETTINGS
    with started(command, environment, settings.home / f"worker-{job}.log") as measured:
        yield Worker(measured, port)


def finals_of(settings: Settings, job: str, stream: Stream) -> Finals:
    """A reader of the final windows of this job."""
    return Finals(settings, metrics_of(write_job(job, settings.home / "catalogues")), stream)


def work_off(settings: Settings, job: str, stream: Stream) -> Outcome:
    """A new worker takes the whole topic: from its first events until all final windows are out."""
    reset(settings)
    with finals_of(settings, job, stream) as finals, working(settings, job) as worker:
        begin = worker.wait_for_events()
        end = until_final(worker, finals, stream)
        return Outcome(Run.between(begin, end), finals.windows, finals.differences())


def until_final(worker: Worker, finals: Finals, stream: Stream) -> Sample:
    """The moment at which the last final window was out."""

    def done() -> bool:
        worker.measured.check()
        return finals.complete()

    wait_until(done, "all final windows are published")
    return worker.measured.sample(stream.events)
