"""`nilo bench replay`: replays beside the live processors and librdkafka, on the same events.

All that is compared runs in this one call, in turns; a ratio is of runs of the same turn, and the
median counts. How rates are taken, and what the events are: see `engine`.

- A replay is measured with all its processes, from the first events read to its end: when its
  windows are on disk. Before that it has imported what it needs and opened the first partition.
- Out of the archive fewer events are read: to move them there takes long, row by row.
- With two processes all cores are for everybody, and the clock counts.
- Then a replay of ten minutes of events tells how its memory grows.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from nilo_deploy import status
from nilo_schemas.settings import Settings
from tests.bench import kept, raw, replayed, topic, worker
from tests.bench.endurance import Growth
from tests.bench.measure import Outcome, keep_off_measured_core, on_all_cores, pinned
from tests.bench.replayed import Way
from tests.bench.report import conclude, options, ratio, sizes_of
from tests.bench.servers import Say, place, servers
from tests.bench.stream import Stream
from tests.bench.turns import Turns, Ways
from tests.bench.versions import versions

FULL, QUICK = 2_000_000, 200_000
ROUNDS = 3
SERIES = 100
GROWTH = 1.2
LIBRARIES = ("aiokafka", "confluent-kafka", "deltalake", "fastavro", "pyarrow", "pyruhvro")
PAIRS = {
    "replay over the live worker": ("replay", "live", 2.0),
    "replay over raw librdkafka": ("replay", "raw", 0.6),
}


@dataclass(frozen=True)
class Sizes:
    """How much of everything, by the number of events in the main topic."""

    events: int
    rounds: int

    @property
    def main(self) -> Stream:
        """Two minutes of event time."""
        return Stream(self.events, SERIES, self.events // 2)

    @property
    def cold(self) -> Stream:
        """The same two minutes with fewer events, for the archive."""
        return Stream(self.events // 10, SERIES, self.events // 20)

    @property
    def long(self) -> Stream:
        """Ten minutes like those of the main topic."""
        return Stream(5 * self.events, SERIES, self.events // 2)


def main() -> int:
    """Measure and print; 1 when a goal is missed or the run failed."""
    about = "measure replays on a real broker"
    given = options(about, full=FULL, quick=QUICK, rounds=ROUNDS).parse_args()
    sizes = Sizes(*sizes_of(given, full=FULL, quick=QUICK, rounds=ROUNDS))
    return conclude("replay", lambda say: measure(sizes, say), as_json=given.json)


def measure(sizes: Sizes, say: Say) -> dict[str, Any]:
    """Everything, on servers of its own or on those that are configured."""
    with servers(say) as settings:
        hot, cold = (
            kept.with_stores(_filled(settings, name, stream, say), name)
            for name, stream in (("main", sizes.main), ("cold", sizes.cold))
        )
        kept.fill_lake(hot, sizes.main)
        kept.fill_lake(cold, sizes.cold)
        kept.move_to_archive(cold, sizes.cold)
        say("the lake and the archive are filled")
        ways = _ways(hot, cold, sizes)
        turns = Turns(ways, sizes.rounds, say)
        grown = _grow(_filled(settings, "long", sizes.long, say), sizes.long)
        servers_used = {each.name: each.version for each in status(settings).servers}
    return {
        "bench": "replay",
        "ratios": _ratios(turns, grown),
        "figures": _figures(sizes, turns, grown),
        "versions": versions(*LIBRARIES) | servers_used,
    }


def _filled(settings: Settings, name: str, stream: Stream, say: Say) -> Settings:
    mine = place(settings, name)
    for _ in topic.fill(mine, stream):
        pass
    topic.close(mine, stream)
    say(f"topic {name}: {stream.events:,} events")
    return mine


def _ways(hot: Settings, cold: Settings, sizes: Sizes) -> Ways:
    def replay(way: Way) -> Outcome:
        return replayed.work_off(hot, way, sizes.main)[0]

    return {
        "raw": lambda: raw.work_off(hot),
        "live": lambda: worker.work_off(hot, "one", sizes.main),
        "replay": lambda: replay(Way("one")),
        "live_ten_metrics": lambda: worker.work_off(hot, "ten", sizes.main),
        "replay_ten_metrics": lambda: replay(Way("ten")),
        "lake": lambda: replay(Way("one", "parquet")),
        "archive": lambda: replayed.work_off(cold, Way("one", "archive"), sizes.cold)[0],
        "two_processes": lambda: _on_all_cores(hot, lambda: replay(Way("one", workers=2))),
    }


def _on_all_cores(settings: Settings, work: Callable[[], Outcome]) -> Outcome:
    pids = [each.pid for each in status(settings).servers if each.pid]
    on_all_cores(pids)
    try:
        return work()
    finally:
        keep_off_measured_core(pids)


def _grow(settings: Settings, stream: Stream) -> Growth:
    outcome, samples = replayed.work_off(settings, Way("one"), stream)
    return Growth.of(outcome, samples, stream)


def _ratios(turns: Turns, grown: Growth) -> list[dict[str, Any]]:
    _, wrong = turns.windows([grown.outcome])
    return [
        *turns.ratios(PAIRS),
        ratio(
            "memory at the end over a fifth of the way (at most)", grown.ratio, GROWTH, most=True
        ),
        ratio("windows that differ (at most)", wrong, 0, most=True),
    ]


def _figures(sizes: Sizes, turns: Turns, grown: Growth) -> dict[str, float]:
    figures: dict[str, float] = {
        "turns": sizes.rounds,
        "events": sizes.main.events,
        "events_archive": sizes.cold.events,
        "own_core": int(pinned()),
    }
    figures |= turns.figures()
    figures["windows_compared"], _ = turns.windows([grown.outcome])
    return figures | grown.figures()


if __name__ == "__main__":
    sys.exit(main())
