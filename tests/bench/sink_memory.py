"""The memory of the sinks on their way through a long stream."""

from __future__ import annotations

import time
from dataclasses import dataclass

from nilo_schemas.settings import Settings
from tests.bench import topic
from tests.bench.measure import MEGABYTE, Sample, wait_until
from tests.bench.nilo_sink import RunningSink, sinking
from tests.bench.servers import Say
from tests.bench.stream import Stream

LOOK_EVERY = 0.5  # seconds


@dataclass(frozen=True)
class Growth:
    """The most resident bytes of a sink in the first fifth of its events and in the last tenth."""

    early: int
    end: int

    @property
    def ratio(self) -> float:
        """The one over the other."""
        return self.end / self.early


def grow(settings: Settings, stream: Stream, say: Say) -> dict[str, Growth]:
    """Both sinks store a stream while it is written, sampled until they have all of it."""
    with sinking(settings, "postgres") as one, sinking(settings, "parquet") as other:
        sinks = {"postgres": one, "parquet": other}
        samples: dict[str, list[Sample]] = {name: [] for name in sinks}
        for written in topic.fill(settings, stream):
            _look(sinks, samples)
            if written * 5 % stream.events == 0:
                say(f"memory: {written:,} events written; {_state(samples)}")

        def all_stored() -> bool:
            time.sleep(LOOK_EVERY)
            _look(sinks, samples)
            return all(each[-1].events >= stream.events for each in samples.values())

        wait_until(all_stored, "all events are stored")
    say(f"memory: {_state(samples)}")
    return {name: _growth(each, stream) for name, each in samples.items()}


def _look(sinks: dict[str, RunningSink], samples: dict[str, list[Sample]]) -> None:
    for name, sink in sinks.items():
        samples[name].append(sink.sample())


def _growth(samples: list[Sample], stream: Stream) -> Growth:
    early = [each.rss for each in samples if each.events <= stream.events / 5]
    late = [each.rss for each in samples if each.events >= stream.events * 0.9]
    return Growth(max(early), max(late))


def _state(samples: dict[str, list[Sample]]) -> str:
    return ", ".join(
        f"{name} has {each[-1].events:,} and {each[-1].rss // MEGABYTE} MB"
        for name, each in samples.items()
    )
