"""Sinks killed, stopped and left without their stores: `python -m tests.chaos.sinks --kills 50`.

Two sinks of each store share the partitions of a stream. One after the other is killed at a random
moment, or stopped for longer than its session lasts; PostgreSQL and the broker are away for a
while. When the stream has ended and all have caught up, the ledger must be clean.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import shutil
import signal
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from nilo_consumers.audit.reconcile import STORES, Ledger, reconcile
from nilo_deploy import start_server, stop_server
from nilo_schemas.families import LlmEvent
from nilo_schemas.settings import Settings
from tests.bench.report import leave_on_sigterm, ratio
from tests.chaos.faults import Say, to_stderr
from tests.chaos.load import Feeder, Load
from tests.chaos.run import LIBRARIES, as_text, fresh, own_stack
from tests.integration.programs import Program, running, wait_for

TOPIC = LlmEvent.kafka_topic
EACH = 2  # sinks of a store
GAP = 3.0  # seconds between two faults, at most
STOP_SHARE, STOP_SECONDS = 0.2, 14.0  # a session lasts ten
AWAY_SECONDS = 30.0


@dataclass(frozen=True)
class Outcome:
    """What was done, what was sent, which sinks ended by themselves, and the ledger at the end."""

    kills: int
    stops: int
    sent: int
    ends: list[str]
    ledger: Ledger


@dataclass
class Sinks:
    """The sink processes by store and number; `ends` tells of those that ended by themselves."""

    settings: Settings
    logs: Path
    ends: list[str] = field(default_factory=list)
    _exits: ExitStack = field(default_factory=ExitStack)
    _processes: dict[tuple[str, int], Program] = field(default_factory=dict)
    _stopped: dict[tuple[str, int], float] = field(default_factory=dict)

    def start(self) -> None:
        """Start two of each store."""
        for store in STORES:
            for number in range(EACH):
                self._start((store, number))

    def strike(self, rng: random.Random) -> str:
        """Kill one and start it again, or stop one; returns what was done."""
        self._wake()
        self.supervise()
        whom = rng.choice([one for one in self._processes if one not in self._stopped])
        if rng.random() < STOP_SHARE:
            self._stopped[whom] = time.monotonic() + STOP_SECONDS
            self._processes[whom].send_signal(signal.SIGSTOP)
            return "stop"
        self._processes[whom].kill()
        self._processes[whom].wait()
        self._start(whom)
        return "kill"

    def _start(self, whom: tuple[str, int]) -> None:
        store, number = whom
        log = self.logs / f"{store}-{number}.log"
        started = running(self.settings, "sink", store, log=log)
        self._processes[whom] = self._exits.enter_context(started)

    def _wake(self, *, all_of_them: bool = False) -> None:
        now = time.monotonic()
        for whom in [one for one, until in self._stopped.items() if all_of_them or until < now]:
            del self._stopped[whom]
            self._processes[whom].send_signal(signal.SIGCONT)

    def supervise(self) -> None:
        """Start those again that ended by themselves, as a supervisor does."""
        for whom, process in list(self._processes.items()):
            if process.poll() is not None:
                self.ends.append(f"{whom[0]}-{whom[1]} ended with {process.returncode}")
                self._start(whom)

    def wake_all(self) -> None:
        """Let all that are stopped go on."""
        self._wake(all_of_them=True)

    def close(self) -> None:
        """Ask all to end."""
        self.wake_all()
        self._exits.close()


def run_round(
    settings: Settings, load: Load, kills: int, logs: Path, say: Say, *, away: bool = True
) -> Outcome:
    """Strike until so many were killed, while the load is sent; then wait for the sinks.

    Args:
        away: whether PostgreSQL and the broker are stopped as well, in the middle.
    """
    rng, deeds = random.Random(load.seed), {"kill": 0, "stop": 0}
    feeder, sinks = Feeder(settings, load), Sinks(settings, logs)
    logs.mkdir(parents=True, exist_ok=True)
    try:
        sinks.start()
        feeder.start()
        while deeds["kill"] < kills:
            time.sleep(rng.uniform(0.2, GAP))
            deeds[sinks.strike(rng)] += 1
            say(f"  {deeds['kill']} kills, {deeds['stop']} stops")
            if away and deeds["kill"] == kills // 2:
                away = False
                _stop_for_a_while(settings, say)
        sinks.wake_all()
        sent = feeder.finish()
        ledger = wait_for("all sinks have caught up", lambda: _caught_up(settings, sinks), 600)
    finally:
        sinks.close()
    return Outcome(deeds["kill"], deeds["stop"], sent, sinks.ends, ledger)


def _stop_for_a_while(settings: Settings, say: Say) -> None:
    for name, seconds in (("postgres", AWAY_SECONDS), ("kafka-1", 5.0)):
        say(f"  {name} is away for {seconds:.0f} s")
        stop_server(settings.home, name, signal.SIGKILL)
        time.sleep(seconds)
        start_server(settings.home, name)


def _caught_up(settings: Settings, sinks: Sinks) -> Ledger | None:
    sinks.supervise()
    ledger = reconcile(settings, [TOPIC], stores=STORES)
    return None if any(line.behind for line in ledger.entries) else ledger


def main() -> None:
    """Run, and print the report."""
    parser = argparse.ArgumentParser(description="sinks under faults, on a stack of their own")
    parser.add_argument("--kills", type=int, default=10, help="SIGKILLs of sinks; default: 10")
    parser.add_argument("--rate", type=float, default=1000, help="events per second; 1000")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6), help="of all faults")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    options = parser.parse_args()
    leave_on_sigterm()
    to_stderr(f"seed {options.seed}")
    with own_stack(without=()) as stack:
        seconds = options.kills * GAP
        load = Load(options.rate, seconds, str(options.seed))
        logs = stack.home / "chaos-logs"
        often = fresh(stack, "sinks.").model_copy(update={"lake_seconds": 0.5})
        outcome = run_round(often, load, options.kills, logs, to_stderr)
        if outcome.ledger.clean:
            shutil.rmtree(logs)
    made = report(outcome, options.seed)
    print(json.dumps(made) if options.json else as_text(made))
    sys.exit(0 if all(ratio["holds"] for ratio in made["ratios"]) else 1)


def report(outcome: Outcome, seed: int) -> dict[str, Any]:
    """The result as `nilo bench` shows it."""
    lines = outcome.ledger.entries
    wrong = sum(not line.clean for line in lines) + len(outcome.ledger.lost_files)
    rows = {store: sum(line.rows for line in lines if line.store == store) for store in STORES}
    short = sum(abs(outcome.sent - count) for count in rows.values())
    return {
        "bench": "chaos-sinks",
        "ratios": [
            ratio("faults in the ledger", wrong, 0, most=True),
            ratio("rows more or fewer than sent", short, 0, most=True),
        ],
        "figures": {
            "seed": seed, "kills": outcome.kills, "stops": outcome.stops, "events": outcome.sent,
            "ended_by_themselves": len(outcome.ends),
            **{f"rows_{store}": count for store, count in rows.items()},
        },
        "versions": {"python": platform.python_version()}
        | {name: version(name) for name in LIBRARIES},
    }  # fmt: skip


if __name__ == "__main__":
    main()
