"""`nilo replay run --out` under measurement.

As a program it replays the whole topic out of a store and prints how it stood whenever something
was read, in JSON; `work_off` runs that program. The clocks begin with the first events read: what
is imported and opened before is not measured.
"""

from __future__ import annotations

import json
import os
import sys
import time
from contextlib import suppress
from dataclasses import astuple, dataclass, replace
from pathlib import Path

import psutil

from nilo_cli.replays.ranges import Asked
from nilo_cli.replays.running import make, runner
from nilo_schemas.catalogue_files import load_catalogue
from nilo_schemas.settings import Settings, load_settings
from nilo_stream_processors.replay.folder import Folder
from nilo_stream_processors.replay.manifest import StoreName
from nilo_stream_processors.replay.runner import Tally
from tests.bench.finals import Compared
from tests.bench.jobs import metrics_of, write_job
from tests.bench.measure import Outcome, Run, Sample, started
from tests.bench.stream import Stream
from tests.bench.topic import TOPIC


@dataclass(frozen=True)
class Way:
    """Where the events are read from, with a job of `jobs`, and by how many processes."""

    job: str
    store: StoreName = "kafka"
    workers: int = 1


def work_off(settings: Settings, way: Way, stream: Stream) -> tuple[Outcome, list[Sample]]:
    """A new replay of the whole topic, and how it stood on its way."""
    catalogue = write_job(way.job, settings.home / "catalogues")
    out = settings.home / f"replay-{time.monotonic_ns()}"
    command = [
        sys.executable,
        "-m",
        __name__,
        way.store,
        str(way.workers),
        str(catalogue),
        str(out),
    ]
    environment = os.environ | settings.environment()
    with started(command, environment, settings.home / "replay.log") as measured:
        samples = [Sample(*each) for each in json.loads(measured.finish())]
    compared = Compared(metrics_of(catalogue), stream)
    for batch in Folder(out).windows():
        compared.take(batch)
    run = Run.between(samples[0], samples[-1])
    return Outcome(run, compared.windows, compared.differences()), samples


class _Watch:
    """This process and those that it has begun, at each look."""

    def __init__(self) -> None:
        self._all: list[psutil.Process] = []
        self.samples: list[Sample] = []

    def look(self, tally: Tally) -> None:
        """Something was read."""
        if not self._all:
            me = psutil.Process()
            self._all = [me, *me.children(recursive=True)]
        cpu, rss = 0.0, 0
        for process in self._all:
            with suppress(psutil.NoSuchProcess), process.oneshot():
                # The ones that have ended count with the one that has begun them.
                cpu += sum(process.cpu_times()[:4])
                rss += process.memory_info().rss
        self.samples.append(Sample(time.perf_counter(), cpu, rss, tally.offsets))

    def end(self) -> None:
        """It is done; the memory is that of the last look: others have ended by now."""
        last = self.samples[-1]
        self.look(Tally(last.events))
        self.samples[-1] = replace(self.samples[-1], rss=last.rss)


def main() -> None:
    """Replay everything."""
    store, workers, catalogue, out = sys.argv[1:]
    settings, watch = load_settings(), _Watch()
    asked = Asked(store, [TOPIC])  # type: ignore[arg-type]  # as `work_off` gives it
    folder = make(settings, asked, load_catalogue(Path(catalogue)), out=Path(out))
    runner(settings, folder, speed=None, workers=int(workers), progress=watch.look).run()
    watch.end()
    json.dump([astuple(each) for each in watch.samples], sys.stdout)


if __name__ == "__main__":
    main()
