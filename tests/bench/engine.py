"""`nilo bench engine`: the processors beside librdkafka and stock Faust, and under strain.

All that is compared runs in this one call, in turns; a ratio is of runs of the same turn, and the
median counts.

- Rates of ratios are events per CPU second of the measured process, all its threads ("per core"):
  the clock would measure the broker, which is the slower one of the two beside raw librdkafka.
- On Linux with two cores or more the measured process has the first one, all others the rest.
- A run begins with the first events taken in. It ends for a worker when all final windows are
  published, for stock Faust when its table's changelog has every event, for librdkafka with the
  last message. Then all windows are compared with what the events were made of.
- The events are 130-byte Avro, lz4, in order of their time, over all partitions alike; at full
  size a million of them make one minute. A last event in each partition lies so much later that all
  windows close: no run waits for idleness.
- Memory is measured while ten minutes of events are written and read at the same time.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

from nilo_deploy import status
from nilo_schemas.settings import Settings
from tests.bench import raw, stock, topic, worker
from tests.bench.endurance import Growth, Recovery, grow, hold_and_kill, recover
from tests.bench.measure import pinned
from tests.bench.report import conclude, options, ratio, sizes_of
from tests.bench.servers import Say, place, servers
from tests.bench.stream import Stream
from tests.bench.turns import Turns, Ways
from tests.bench.versions import versions

FULL, QUICK = 2_000_000, 200_000
ROUNDS = 3
FEW = 100  # series
RECOVERY_SECONDS = 15.0
GROWTH = 1.2
LIBRARIES = ("aiokafka", "confluent-kafka", "fastavro", "faust-streaming", "pyarrow", "pyruhvro")
PAIRS = {
    "same job over stock Faust": ("same_job", "stock_faust", 100.0),
    "one metric over raw librdkafka": ("one_metric", "raw", 0.4),
    "ten metrics over raw librdkafka": ("ten_metrics", "raw", 0.25),
    "a thousand times the series over 100 series": ("many_series", "one_metric", 0.5),
}


@dataclass(frozen=True)
class Sizes:
    """How much of everything, by the number of events in the main topic.

    With two million of them these are a million events to a minute, 100,000 series, ten million
    events for the memory and 20,000 for stock Faust.
    """

    events: int
    rounds: int

    @property
    def main(self) -> Stream:
        """Two minutes of event time."""
        return Stream(self.events, FEW, self.events // 2)

    @property
    def many(self) -> Stream:
        """The same two minutes, of a thousand times the series: ten events to each in a minute."""
        return Stream(self.events, self.events // 20, self.events // 2)

    @property
    def held(self) -> Stream:
        """One minute of those, which stays open."""
        return Stream(self.events // 2, self.events // 20, self.events // 2)

    @property
    def long(self) -> Stream:
        """Ten such minutes."""
        return Stream(5 * self.events, FEW, self.events // 2)

    @property
    def stock(self) -> Stream:
        """Two minutes for a slow reader."""
        return Stream(self.events // 100, FEW, self.events // 200)


def main() -> int:
    """Measure and print; 1 when a goal is missed or the run failed."""
    about = "measure the processors on a real broker"
    given = options(about, full=FULL, quick=QUICK, rounds=ROUNDS).parse_args()
    sizes = Sizes(*sizes_of(given, full=FULL, quick=QUICK, rounds=ROUNDS))
    return conclude("engine", lambda say: measure(sizes, say), as_json=given.json)


def measure(sizes: Sizes, say: Say) -> dict[str, Any]:
    """Everything, on servers of its own or on those that are configured."""
    with servers(say) as settings:
        held_topic = _filled(settings, "held", sizes.held, say)
        hold_and_kill(held_topic, sizes.held, say)
        many_topic = _filled(settings, "many", sizes.many, say)
        main_topic = _filled(settings, "main", sizes.main, say)
        stock_topic = _filled(settings, "stock", sizes.stock, say)
        recovered = recover(held_topic, sizes.held, say)
        topic.close(main_topic, sizes.main)
        topic.close(many_topic, sizes.many)
        ways: Ways = {
            "raw": lambda: raw.work_off(main_topic),
            "one_metric": lambda: worker.work_off(main_topic, "one", sizes.main),
            "many_series": lambda: worker.work_off(many_topic, "one", sizes.many),
            "ten_metrics": lambda: worker.work_off(main_topic, "ten", sizes.main),
            "same_job": lambda: worker.work_off(main_topic, "same", sizes.main),
            "stock_faust": lambda: stock.work_off(stock_topic, sizes.stock),
        }
        turns = Turns(ways, sizes.rounds, say)
        grown = grow(place(settings, "long"), sizes.long, say)
        servers_used = {each.name: each.version for each in status(settings).servers}
    return {
        "bench": "engine",
        "ratios": _ratios(turns, recovered, grown),
        "figures": _figures(sizes, turns, recovered, grown),
        "versions": versions(*LIBRARIES) | servers_used,
    }


def _filled(settings: Settings, name: str, stream: Stream, say: Say) -> Settings:
    mine = place(settings, name)
    for _ in topic.fill(mine, stream):
        pass
    say(f"topic {name}: {stream.events:,} events of {stream.series:,} series")
    return mine


def _ratios(turns: Turns, recovered: Recovery, grown: Growth) -> list[dict[str, Any]]:
    _, wrong = turns.windows([recovered.outcome, grown.outcome])
    return [
        *turns.ratios(PAIRS),
        ratio(
            "memory at the end over a fifth of the way (at most)", grown.ratio, GROWTH, most=True
        ),
        ratio("seconds to recover (at most)", recovered.seconds, RECOVERY_SECONDS, most=True),
        ratio("windows that differ (at most)", wrong, 0, most=True),
    ]


def _figures(sizes: Sizes, turns: Turns, recovered: Recovery, grown: Growth) -> dict[str, float]:
    figures: dict[str, float] = {
        "turns": sizes.rounds,
        "events": sizes.main.events,
        "many_series": sizes.many.series,
        "events_stock_faust": sizes.stock.events,
        "own_core": int(pinned()),
    }
    figures |= turns.figures()
    figures["windows_compared"], _ = turns.windows([recovered.outcome, grown.outcome])
    return figures | recovered.figures() | grown.figures()


if __name__ == "__main__":
    sys.exit(main())
