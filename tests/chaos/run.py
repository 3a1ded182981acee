"""Chaos on the real broker: `python -m tests.chaos.run --kills 100`.

Rounds on a stack of its own, until so many workers were killed: real workers under load, killed,
stopped, added and removed at random moments, the broker restarted; after each round every window
must equal the brute-force reference. Exits with 1 when one differs.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import shutil
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from math import inf
from pathlib import Path
from typing import Any

from nilo_deploy import down, up
from nilo_deploy.state import Part
from nilo_schemas.registry import Registry
from nilo_schemas.settings import Settings, load_settings
from nilo_schemas.topics import create_topics
from tests.bench.report import leave_on_sigterm, ratio
from tests.chaos.faults import to_stderr
from tests.chaos.idle import measure_idle_close
from tests.chaos.load import GRACE, Load
from tests.chaos.round import Outcome, run_round
from tests.chaos.schedule import Kind, draw_plan
from tests.integration.topics import delete_topics

WITHOUT: tuple[Part, ...] = ("postgres",)
LIBRARIES = ("aiokafka", "confluent-kafka", "fastavro", "faust-streaming", "pyarrow")
IDLE_SLACK = 2.0  # seconds after idle_after in which a silent stream must have closed its windows
IDLE_TIMES = 3
SHOWN = 20


@dataclass
class Total:
    """All rounds so far."""

    rounds: list[Outcome] = field(default_factory=list)
    faults: Counter[Kind] = field(default_factory=Counter)

    def count(self, measure: Callable[[Outcome], int]) -> int:
        """The sum of a measure over the rounds."""
        return sum(measure(outcome) for outcome in self.rounds)


def main() -> None:
    """Run, and print the report."""
    options = _options()
    leave_on_sigterm()
    begin = time.monotonic()
    to_stderr(f"seed {options.seed}")
    with own_stack() as stack:
        total = run_rounds(stack, options)
        idle = idle_closes(stack)
        made = report(total, options, idle, stack.idle_after, time.monotonic() - begin)
    print(json.dumps(made) if options.json else as_text(made))
    sys.exit(0 if all(ratio["holds"] for ratio in made["ratios"]) else 1)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="exactness under faults, on a stack of its own")
    parser.add_argument("--kills", type=int, default=10, help="SIGKILLs of workers; default: 10")
    parser.add_argument("--seconds", type=float, default=90, help="of a round's stream; 90")
    parser.add_argument("--workers", type=int, default=3, help="at the beginning of a round; 3")
    parser.add_argument("--rate", type=float, default=3000, help="events per second; 3000")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6), help="of all rounds")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    return parser.parse_args()


@contextmanager
def own_stack(without: Collection[Part] = WITHOUT) -> Iterator[Settings]:
    """An embedded stack in a temporary home; removed at the end, but logs of a failure are kept."""
    home = Path(tempfile.mkdtemp(prefix="nilo-chaos-"))
    settings = load_settings({"home": home}, env={})
    try:
        up(settings, skip=without, progress=to_stderr)
        yield load_settings({"home": home, "grace": GRACE, "report_every": 0.0}, env={})
    finally:
        down(settings, delete=True)
        if not list(home.glob("chaos-logs/*")):
            shutil.rmtree(home, ignore_errors=True)
        else:
            to_stderr(f"logs of wrong or unfinished rounds are in {home / 'chaos-logs'}")


def fresh(stack: Settings, prefix: str) -> Settings:
    """Settings of one round: topics and contracts of its own."""
    settings = stack.model_copy(update={"topic_prefix": prefix})
    list(create_topics(settings))
    list(Registry(settings).register_all())
    return settings


def run_rounds(stack: Settings, options: argparse.Namespace) -> Total:
    """Rounds until enough workers were killed."""
    total = Total()
    while total.faults["kill"] < options.kills:
        number = len(total.rounds) + 1
        seed = f"{options.seed}/{number}"
        plan = draw_plan(seed, workers=options.workers, seconds=options.seconds)
        total.faults += plan.faults
        to_stderr(f"round {number}, seed {seed}: {dict(plan.faults)}")
        settings = fresh(stack, f"r{number}.")
        logs = stack.home / "chaos-logs" / f"round-{number}"
        load = Load(options.rate, options.seconds, seed)
        outcome = run_round(settings, plan, load, logs, to_stderr)
        total.rounds.append(outcome)
        _tell(outcome, logs)
        delete_topics(settings)
    return total


def idle_closes(stack: Settings) -> list[float]:
    """Seconds that a silent stream took to close its windows, a few times."""
    found = []
    for number in range(1, IDLE_TIMES + 1):
        logs = stack.home / "chaos-logs" / f"idle-{number}"
        seconds, wrong = measure_idle_close(fresh(stack, f"idle{number}."), logs, to_stderr)
        to_stderr(f"idle close {number}: {seconds:.2f} s after the last event, {len(wrong)} wrong")
        found.append(inf if wrong else seconds)
        if not wrong:
            shutil.rmtree(logs)
    return found


def _tell(outcome: Outcome, logs: Path) -> None:
    wrong = outcome.differences + outcome.conflicts
    for line in wrong[:SHOWN]:
        to_stderr(f"  ! {line}")
    if wrong or outcome.own_ends:
        (logs / "differences.txt").write_text("\n".join(wrong))
    else:
        shutil.rmtree(logs)


def report(
    total: Total, options: argparse.Namespace, idle: list[float], idle_after: float, seconds: float
) -> dict[str, Any]:
    """The result as `nilo bench` shows it."""
    different = total.count(lambda outcome: len(outcome.differences))
    conflicts = total.count(lambda outcome: len(outcome.conflicts))
    limit = idle_after + IDLE_SLACK
    return {
        "bench": "chaos",
        "ratios": [
            ratio("differences", different, 0, most=True),
            ratio("final revisions with two contents", conflicts, 0, most=True),
            ratio("idle close, seconds", round(max(idle), 2), limit, most=True),
        ],
        "figures": _figures(total, options, seconds),
        "versions": {"python": platform.python_version()}
        | {name: version(name) for name in LIBRARIES},
    }


def _figures(total: Total, options: argparse.Namespace, seconds: float) -> dict[str, Any]:
    published = sum((outcome.published for outcome in total.rounds), Counter[str]())
    settled = [outcome.settled for outcome in total.rounds if outcome.settled is not None]
    stops = [taken for outcome in total.rounds for taken in outcome.stops]
    return {
        "seed": options.seed,
        "runs": len(total.rounds),
        "events": total.count(lambda outcome: outcome.events),
        "events_per_second": options.rate,
        "kills": total.faults["kill"],
        "stops": total.faults["stop"],
        "broker_restarts": total.faults["broker"],
        "joins": total.faults["join"],
        "leaves": total.faults["leave"],
        "windows_compared": total.count(lambda outcome: outcome.windows),
        "differences": total.count(lambda outcome: len(outcome.differences)),
        "late_events_as_planned": total.count(lambda outcome: outcome.late),
        "state_messages_compacted": total.count(lambda outcome: outcome.compacted),
        "window_messages": published["messages"],
        "finals_published_again": published["again"],
        "older_revision_after_newer": published["older_after_newer"],
        "provisional_after_final": published["provisional_after_final"],
        "workers_ended_by_themselves": total.count(lambda outcome: len(outcome.own_ends)),
        "rounds_never_settled": len(total.rounds) - len(settled),
        "settled_s": _spread(settled),
        "graceful_stop_s": _spread(stops),
        **_catch_ups(total),
        "seconds": round(seconds),
    }


def _catch_ups(total: Total) -> dict[str, Any]:
    deeds = sorted({deed for outcome in total.rounds for deed in outcome.catch_ups})
    found: dict[str, Any] = {
        f"catch_up_after_{deed.replace(' ', '_')}_s": _spread(
            [taken for outcome in total.rounds for taken in outcome.catch_ups.get(deed, [])]
        )
        for deed in deeds
    }
    return found | {"never_caught_up": total.count(lambda outcome: outcome.never_caught_up)}


def _spread(taken: list[float]) -> dict[str, float]:
    if not taken:
        return {}
    return {"median": round(statistics.median(taken), 1), "max": round(max(taken), 1)}


def as_text(made: dict[str, Any]) -> str:
    """The report as lines for people."""
    lines = [f"{name:<44} {value}" for name, value in made["figures"].items()]
    for one in made["ratios"]:
        holds = "holds" if one["holds"] else "MISSED"
        lines.append(f"{one['name']:<44} {one['value']} (goal: {one['goal']}) {holds}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
