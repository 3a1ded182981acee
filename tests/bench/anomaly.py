"""`nilo bench anomaly`: the detector of anomalies on the files of NAB, and on made-up series.

- NAB: 31 of its files in lock-step through the class that runs in production, one configuration and
  one threshold; the scorer is that of the shared folder beside the checkout.
- Time is CPU time of a pass over its points; of each stretch the least of some passes, as other
  programs on the machine only ever add to it. A step costs nearly the same for one series as for a
  hundred, so there are ten of each file, as a worker has hundreds of series: 310 at first and 10
  where only the longest file is left. The figure for one of each stands beside it.
- Operations: made-up series with disturbances of known size (`operations.py`).
"""

from __future__ import annotations

import argparse
import sys
import time
from statistics import median
from typing import Any

import numpy as np

from nilo_stream_processors.engine.anomaly import Detectors
from tests.bench import nab, operations
from tests.bench.report import conclude, ratio
from tests.bench.servers import Say
from tests.bench.versions import versions

GOALS = {"standard": 68.0, "low false positive": 60.0}
MICROSECONDS = 20.0
OF_EACH, OF_EACH_QUICK = 40, 4
MANY = (10_000, 100_000)
PASSES, PASSES_QUICK, TAKES = 5, 2, 5
COPIES = 10


def main() -> int:
    """Measure, and print the report; 1 when a goal is missed."""
    parser = argparse.ArgumentParser(description="measure the detector of anomalies")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.add_argument("--quick", action="store_true", help="fewer made-up series")
    options = parser.parse_args()
    return conclude("anomaly", lambda say: measure(options.quick, say), as_json=options.json)


def measure(quick: bool, say: Say) -> dict[str, Any]:
    """Everything; raises NoSharedFolderError."""
    held = nab.load()
    passes = [nab.run(held) for _ in range(PASSES_QUICK if quick else PASSES)]
    say(f"{held.points:,} points of {len(held.corpus)} files")
    together = [nab.run(held, COPIES) for _ in range(PASSES_QUICK if quick else PASSES)]
    cost = _cost(together) / (COPIES * held.points)
    figures: dict[str, float] = {
        "files": len(held.corpus),
        "points": held.points,
        "microseconds_a_point_of_one_copy": round(_cost(passes) / held.points, 1),
    }
    for category, (found, windows, false) in nab.tallies(held, passes[0]).items():
        figures |= {
            f"{category}_found": found,
            f"{category}_windows": windows,
            f"{category}_false_alarms": false,
        }
    for profile in GOALS:
        bare = nab.score(held, passes[0].uncooled, profile)
        figures[f"{profile.replace(' ', '_')}_without_cool_down"] = round(bare, 1)
    made = operations.make(OF_EACH_QUICK if quick else OF_EACH)
    say(f"{made.values.shape[1]} made-up series of {operations.DAYS} days")
    raised = operations.alarms(made)
    figures |= operations.found_rates(made, raised) | operations.false_rates(made, raised)
    for count in MANY[:1] if quick else MANY:
        figures[f"take_{count}_ms"] = round(_take(count) * 1e3, 1)
    return {
        "bench": "anomaly",
        "ratios": [
            *(
                ratio(f"NAB, {profile}", nab.score(held, passes[0].scores, profile), goal)
                for profile, goal in GOALS.items()
            ),
            ratio("microseconds a point of NAB (at most)", cost, MICROSECONDS, most=True),
        ],
        "figures": figures,
        "versions": versions("numpy"),
    }


def _cost(passes: list[nab.Scored]) -> float:
    """Microseconds of a pass, each stretch as quick as it ever was."""
    taken = zip(*(one.seconds for one in passes), strict=True)
    return 1e6 * sum((min(stretch) for stretch in taken), 0.0)


def _take(count: int) -> float:
    """CPU seconds of one point of each of so many series, the median of some."""
    chance, detectors, slots = np.random.default_rng(1), Detectors(nab.STEP), np.arange(count)
    taken = []
    for number in range(TAKES):
        times, values = np.full(count, number * nab.STEP), chance.standard_normal(count)
        begin = time.process_time()
        detectors.take(slots, times, values)
        taken.append(time.process_time() - begin)
    return median(taken)


if __name__ == "__main__":
    sys.exit(main())
