"""What every sink promises, each in a test of its own; `Case` says how a sink is driven.

Stores of rows hold every record once, whatever happens. The sinks of windows promise that each
window that was sent is told of, in its last revision and counted once.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from nilo_consumers import StoreUnavailableError
from nilo_consumers.audit.reconcile import STORES, reconcile
from nilo_consumers.batch import Batch
from tests.integration.conformance.case import Case, Origin
from tests.integration.programs import wait_for
from tests.integration.sinking import Running, get
from tests.integration.windows import read_topic

pytestmark = [pytest.mark.integration, pytest.mark.topics("events.llm", "metrics.windows")]
# Seconds that a store is away at least; the long form of the suite has 30.
AWAY = float(os.environ.get("NILO_TEST_AWAY_SECONDS", "0"))


def test_at_least_once_under_crash(case: Case, tmp_path: Path) -> None:
    """SIGKILL in the middle of a stream, and a new start."""
    case.send(case.many())
    with case.process(tmp_path / "log") as process:
        wait_for("the first records", case.held)
        process.send_signal(signal.SIGKILL)
        process.wait()
    case.send(case.many(0.25))

    with case.running():
        case.wait(case.many() + case.many(0.25))
    assert reconciled(case)


def test_exactly_once_by_offsets(case: Case) -> None:
    """The answer to a write is lost, so the same batch comes again: it is there once."""
    given = lose_first_answer(case)
    case.send(50, partition=0)
    with case.running():
        wait_for("the batch again", lambda: len(given) > 1)
        case.wait(50)
        case.send(50, partition=0)
        case.wait(100)

    assert given[0].spans == given[1].spans


def test_through_reconnect(case: Case) -> None:
    """A store goes away while records come: the sink says so, waits in its group, and goes on."""
    with case.running() as sink:
        case.send(100)
        case.wait(100)
        with case.away():
            case.send(100)
            wait_for("trouble is told", lambda: health(sink)[0] == 503)
            assert case.says in health(sink)[1]
            time.sleep(AWAY)
        case.send(100)
        case.wait(300)
        wait_for("health", lambda: health(sink)[0] == 200)

    assert reconciled(case)


def test_poison_row_isolated(case: Case) -> None:
    """Poison at the begin, in the middle and at the end, two in a row and alone: the rest lands.

    It becomes dead letters with all that it had. A sink that reads the last minutes again at each
    start only counts it: it would bury the same message again and again.
    """
    case.refuse_poison()
    poison = [case.send_poison(0)]
    case.send(40)
    poison += [case.send_poison(1), case.send_poison(1)]
    case.send(40)
    poison += [case.send_poison(3)]
    with case.running() as sink:
        case.wait(80)
        wait_for("four", lambda: sink.total("nilo_dead_letters_total") == 4)
        poison += [case.send_poison(2)]
        wait_for("the one alone", lambda: sink.total("nilo_dead_letters_total") == 5)
    with case.running():
        case.send(1)
        case.wait(81)

    letters = read_topic(case.settings, f"dlq.{case.topic}")
    headers = [dict(letter.headers()) for letter in letters]
    assert origins(headers) == (sorted(poison) if case.buries else [])
    assert {one["x-nilo-error-code"] for one in headers} <= {b"refused"}
    assert {one["__connect.errors.stage"] for one in headers} <= {b"TASK_PUT"}
    assert {one["h"] for one in headers} <= {b"1"}
    assert {(one.key(), one.value()) for one in letters} <= {(b"k", case.poison())}


def test_empty_batch(case: Case) -> None:
    """A batch may have no rows, only offsets: nothing is held, and nothing of it comes again."""
    for _ in range(3):
        case.send_garbage(0)
    with case.running() as sink:
        wait_for("read", lambda: sink.total("nilo_dead_letters_total") == 3)
        wait_for("written", lambda: case.committed(0) == 3)
        assert case.held() == 0
    if case.resumes == "store":
        case.set_group(0)
    with case.running() as sink:
        case.send(1, partition=0)
        case.wait(1)
        again = sink.total("nilo_dead_letters_total")

    assert again == (0 if case.buries else 3)
    assert len(read_topic(case.settings, f"dlq.{case.topic}")) == (3 if case.buries else 0)


def test_restart_from_own_offsets(case: Case) -> None:
    """A sink goes on where its own offsets are, whatever is done to those of its group.

    Line protocol has no place for offsets: there the group's are its own. A page keeps neither:
    it begins with the last minutes at each start.
    """
    case.send(20, partition=0)
    with case.running():
        case.wait(20)
    assert case.committed(0) == case.end(0)
    for rows, how in enumerate(case.regrouped, 3):
        end = case.end(0)
        case.send(10, partition=0)
        begin = case.regroup(how, end)
        with case.running() as sink:
            case.wait(10 * rows)
            assert sink.total("nilo_consumed_events_total") == case.end(0) - begin


def test_rebalance_during_write(case: Case) -> None:
    """A write hangs until another sink has stored some of the same rows, and only then begins."""
    go_on, hanging = hang_first_write(case)
    half = case.many(0.005)
    case.send(half, partition=0)
    case.send(half, partition=3)
    with ExitStack() as stack:
        stack.callback(go_on.set)
        stack.enter_context(case.running())
        assert hanging.wait(30)
        case.send(half, partition=0)
        second = stack.enter_context(case.running())
        wait_for("the other's rows", lambda: second.total("nilo_stored_events_total") > 0)
        go_on.set()
        case.wait(3 * half)
        case.send(half, partition=3)
        case.wait(4 * half)


def test_two_instances_sharing_partitions(case: Case) -> None:
    """One joins while the other works, then the first leaves: each record is there once."""
    some = case.many(0.1)
    with ExitStack() as stack:
        with case.running() as first:
            case.send(some)
            second = stack.enter_context(case.running())
            case.wait(some)
            case.send(some)
            case.wait(2 * some)
            for sink in (first, second):
                wait_for("a part", lambda: sink.total("nilo_stored_events_total") > 0)  # noqa: B023  used at once
        case.send(8)
        case.wait(2 * some + 8)


def reconciled(case: Case) -> bool:
    """Whether the ledger is clean; of what has no rows there is none."""
    topics, stores = [case.topic], [case.name]
    return case.name not in STORES or reconcile(case.settings, topics, stores=stores).clean


def health(sink: Running) -> tuple[int, str]:
    return get(f"{sink.url}/health")


def origins(headers: list[dict[str, bytes]]) -> list[Origin]:
    names = "__connect.errors.partition", "__connect.errors.offset"
    return sorted((int(one[names[0]]), int(one[names[1]])) for one in headers)


def lose_first_answer(case: Case) -> list[Batch]:
    """Have the sink's first write fail when all is done; gets the batches of all writes."""
    write, given = case.sink.write, list[Batch]()

    def unheard(self: Any, batch: Batch) -> int:
        given.append(batch)
        rows: int = write(self, batch)
        if len(given) == 1:
            raise StoreUnavailableError("the answer is lost")
        return rows

    case.patch.setattr(case.sink, "write", unheard)
    return given


def hang_first_write(case: Case) -> tuple[threading.Event, threading.Event]:
    """Have the first write hang; what it waits for, and what tells that it hangs."""
    write, go_on, hanging = case.sink.write, threading.Event(), threading.Event()

    def hangs_once(self: Any, batch: Batch) -> int:
        if not hanging.is_set():
            hanging.set()
            assert go_on.wait(60)
        rows: int = write(self, batch)
        return rows

    case.patch.setattr(case.sink, "write", hangs_once)
    return go_on, hanging
