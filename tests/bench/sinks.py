"""`nilo bench sinks`: the sinks beside a bare COPY, a bare Parquet file and Quix Streams' sinks.

All that is compared runs in this one call, in turns; a ratio is of runs of the same turn, and the
median counts.

- Rates are events per second of the clock. While rows go into PostgreSQL, on Linux with two cores
  or more, PostgreSQL has all cores but the first to itself; Kafka and the measured process share
  the first, whoever reads from Kafka. Into files everybody may have all cores, of which
  `write_table` can use one.
- A run begins with the first batch stored and ends with the last but one, as the last batch waits
  for company that does not come. The bare ways begin and end with their writing: the
  rows are in memory, as CSV text or as one Arrow table.
- The bare COPY has the same table (key, indexes, days) and a transaction for as many rows. The
  bare file is `pyarrow.parquet.write_table` with its defaults.
- Quix Streams is from PyPI in an environment of its own, which uv makes in the user's cache at the
  first run. It reads the same kind of events, fewer of them, as it is slow; its PostgreSQL sink
  has a table without key and index.
- The events are 300 bytes of Avro, with all that an instrumented program gives them, of yesterday
  and today.
- Then both sinks store ten million events while these are written, with their memory sampled.
- Whatever was stored is counted in the store: rows, distinct ones, and the sum of a column.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any

from nilo_deploy import status
from nilo_schemas.settings import Settings
from tests.bench import quix, stored, topic
from tests.bench.measure import (
    MEGABYTE,
    Run,
    keep_off_measured_core,
    on_all_cores,
    pinned,
    to_measured_core,
)
from tests.bench.report import conclude, options, ratio, sizes_of
from tests.bench.servers import Say, place, servers
from tests.bench.sink_memory import Growth, grow
from tests.bench.sink_ways import Way, fresh, ways
from tests.bench.stored import Stored
from tests.bench.stream import Stream
from tests.bench.versions import versions

FULL, QUICK = 2_000_000, 200_000
ROUNDS = 3
SERIES = 100
GROWTH = 1.2
DAY = 24 * 60  # minutes
LIBRARIES = ("confluent-kafka", "deltalake", "psycopg", "pyarrow", "pyruhvro")
# The way of the upper number, that of the lower one, and what is to be reached.
PAIRS = {
    "PostgreSQL sink over a bare COPY": ("postgres", "copy", 0.8),
    "PostgreSQL sink over that of Quix Streams": ("postgres", "quix_postgres", 5.0),
    "Parquet sink over pyarrow's write_table": ("parquet", "write_table", 0.4),
    "Parquet sink over that of Quix Streams": ("parquet", "quix_files", 5.0),
}

Topic = tuple[Settings, Stream]


@dataclass(frozen=True)
class Sizes:
    """How much of everything, by the number of events in the main topic; two days each."""

    events: int
    rounds: int

    @property
    def main(self) -> Stream:
        """For the fast ways."""
        return _two_days(self.events)

    @property
    def slow(self) -> Stream:
        """For Quix Streams."""
        return _two_days(self.events // 20)

    @property
    def long(self) -> Stream:
        """For the memory: ten million, when there are two million for the rates."""
        return _two_days(5 * self.events)


def _two_days(events: int) -> Stream:
    yesterday = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(1)
    return Stream(events, SERIES, max(events // (2 * DAY), 1), yesterday, full=True)


@dataclass
class Outcomes:
    """The runs of each way, turn by turn, and how many rows were wrong over all."""

    runs: dict[str, list[Run]] = field(default_factory=dict)
    differences: int = 0
    compared: int = 0

    def add(self, way: str, run: Run, found: Stored, stream: Stream) -> None:
        """Take in a run and what its store holds after it."""
        self.runs.setdefault(way, []).append(run)
        self.check(found, stream)

    def check(self, found: Stored, stream: Stream) -> None:
        """Compare what a store holds with what was sent."""
        self.differences += found.differences(stream)
        self.compared += found.rows


def main() -> int:
    """Measure and print; 1 when a goal is missed or the run failed."""
    about = "measure the sinks on real servers"
    parser = options(about, full=FULL, quick=QUICK, rounds=ROUNDS)
    parser.add_argument("--without-quix", action="store_true", help="nothing from PyPI")
    given = parser.parse_args()
    sizes = Sizes(*sizes_of(given, full=FULL, quick=QUICK, rounds=ROUNDS))

    def work(say: Say) -> dict[str, Any]:
        python = None if given.without_quix else quix.environment(say)
        return measure(sizes, python, say)

    return conclude("sinks", work, as_json=given.json)


def measure(sizes: Sizes, python: Path | None, say: Say) -> dict[str, Any]:
    """Everything, on servers of its own or on those that are configured.

    Args:
        sizes: how much.
        python: the interpreter that has Quix Streams; None: without it.
        say: told what is being done.
    """
    with servers(say, postgres=True) as settings:
        outcomes, measured = Outcomes(), ways(python)
        topics = {False: _filled(settings, "main", sizes.main, say)}
        if python is not None:
            topics[True] = _filled(settings, "slow", sizes.slow, say)
        for number in range(1, sizes.rounds + 1):
            _turn(measured, topics, number, outcomes, say)
        grown = _grown(settings, sizes.long, outcomes, say)
        used = {each.name: each.version for each in status(settings).servers}
    return {
        "bench": "sinks",
        "ratios": _ratios(outcomes, grown),
        "figures": _figures(sizes, outcomes, grown),
        "versions": versions(*LIBRARIES)
        | ({} if python is None else {"quixstreams": quix.VERSION})
        | used,
    }


def _share_cores(settings: Settings, *, postgres: bool) -> None:
    """Give PostgreSQL the cores that are not measured; without it everybody may have all."""
    pids = {each.name: each.pid for each in status(settings).servers if each.pid}
    if postgres:
        keep_off_measured_core(pids.values())
        to_measured_core(pid for name, pid in pids.items() if name != "postgres")
    else:
        on_all_cores(pids.values())


def _turn(
    ways: list[Way], topics: dict[bool, Topic], number: int, outcomes: Outcomes, say: Say
) -> None:
    """Every way once."""
    for way in ways:
        settings, stream = topics[way.slow]
        _share_cores(settings, postgres=way.postgres)
        with fresh(settings) as mine:
            run = way.store(mine, stream)
            outcomes.add(way.name, run, way.found(mine), stream)
        say(f"turn {number}, {way.name}: {run.per_second:,.0f} events per second")


def _filled(settings: Settings, name: str, stream: Stream, say: Say) -> Topic:
    mine = place(settings, name)
    for _ in topic.fill(mine, stream):
        pass
    say(f"topic {name}: {stream.events:,} events")
    return mine, stream


def _grown(settings: Settings, stream: Stream, outcomes: Outcomes, say: Say) -> dict[str, Growth]:
    """The memory of both sinks while they read along with a long stream."""
    _share_cores(settings, postgres=False)
    with fresh(place(settings, "long")) as mine:
        grown = grow(mine, stream, say)
        outcomes.check(stored.in_postgres(mine, stored.ORIGIN), stream)
        outcomes.check(stored.in_lake(mine), stream)
    return grown


def _ratios(outcomes: Outcomes, grown: dict[str, Growth]) -> list[dict[str, Any]]:
    runs = outcomes.runs
    return [
        *(
            ratio(name, median(_over(runs[upper], runs[lower])), goal)
            for name, (upper, lower, goal) in PAIRS.items()
            if lower in runs
        ),
        *(
            ratio(
                f"memory of {name} at the end over a fifth of the way (at most)",
                each.ratio,
                GROWTH,
                most=True,
            )
            for name, each in grown.items()
        ),
        ratio("rows and sums that differ (at most)", outcomes.differences, 0, most=True),
    ]


def _over(upper: list[Run], lower: list[Run]) -> list[float]:
    return [ours.per_second / theirs.per_second for ours, theirs in zip(upper, lower, strict=True)]


def _figures(sizes: Sizes, outcomes: Outcomes, grown: dict[str, Growth]) -> dict[str, float]:
    figures: dict[str, float] = {
        "turns": sizes.rounds,
        "events": sizes.main.events,
        "events_quix_streams": sizes.slow.events,
        "events_memory": sizes.long.events,
        "rows_compared": outcomes.compared,
        "own_core": int(pinned()),
    }
    for way, runs in outcomes.runs.items():
        figures[f"{way}_per_s"] = round(median(run.per_second for run in runs))
        figures[f"{way}_per_core_s"] = round(median(run.per_core for run in runs))
        figures[f"{way}_rss_mb"] = max(run.rss for run in runs) // MEGABYTE
    for name, each in grown.items():
        figures[f"{name}_memory_first_fifth_mb"] = each.early // MEGABYTE
        figures[f"{name}_memory_end_mb"] = each.end // MEGABYTE
    return figures


if __name__ == "__main__":
    sys.exit(main())
