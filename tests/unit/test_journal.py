"""State as a log: what a reader finds, whatever owners and zombies have written."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nilo_stream_processors import journal
from nilo_stream_processors.journal import (
    LEAST_BYTES,
    MOST_CHANGES,
    Epoch,
    Journal,
    Part,
    Stamp,
    chains,
    next_epoch,
)
from tests.property.strategies import SHORT

FIRST = Epoch(1, 5)


def written(owner: Journal, kinds: str, parts: int = 2) -> list[Part]:
    """Generations one after another: `s` is a snapshot, `c` are changes."""
    found = []
    for kind in kinds:
        stamps = owner.stamps(parts, snapshot=kind == "s")
        found += [Part(stamp, owner.generation, parts, kind.encode()) for stamp in stamps]
    return found


def compacted(log: list[Part]) -> list[Part]:
    return list({part.stamp.to_bytes(): part for part in log}.values())


def told(log: list[Part]) -> tuple[Epoch, list[int]] | None:
    """Whose generations are read, and which."""
    chain = chains(log).get("n")
    if chain is None:
        return None
    return chain.epoch, [parts[0].generation for parts in chain.generations]


def test_a_snapshot_and_the_changes_behind_it_are_the_state() -> None:
    assert told(written(Journal("n", FIRST), "sccscc")) == (FIRST, [4, 5, 6])
    assert told([]) is None


def test_parts_are_read_in_their_order() -> None:
    log = written(Journal("n", FIRST), "sc", parts=3)

    (snapshot, change) = chains(reversed(log))["n"].generations

    assert [part.stamp.part for part in snapshot + change] == [0, 1, 2] * 2


def test_names_are_apart() -> None:
    log = written(Journal("n", FIRST), "s") + written(Journal("m", Epoch(7, 1)), "sc")

    assert {name: chain.epoch for name, chain in chains(log).items()} == {
        "n": FIRST,
        "m": Epoch(7, 1),
    }


def test_an_incomplete_change_ends_the_chain() -> None:
    log = written(Journal("n", FIRST), "sccc")

    assert told(log[:-1]) == (FIRST, [1, 2, 3])


def test_a_missing_change_ends_the_chain() -> None:
    """Of generations 1 to 4 the third is nowhere: what is behind it belongs to another state."""
    log = [part for part in written(Journal("n", FIRST), "sccc") if part.generation != 3]

    assert told(log) == (FIRST, [1, 2])


def test_an_incomplete_snapshot_leaves_the_state_before_it() -> None:
    log = written(Journal("n", FIRST), "sccs")

    assert told(log[:-1]) == (FIRST, [1, 2, 3])


def test_an_owner_without_a_complete_snapshot_counts_for_nothing() -> None:
    old = written(Journal("n", FIRST), "sc")
    new = written(Journal("n", Epoch(2, 6)), "s")

    assert told(old + new[:-1]) == (FIRST, [1, 2])
    assert told(old + new) == (Epoch(2, 6), [1])
    assert told(new[:-1]) is None


def test_what_a_zombie_writes_is_passed_over() -> None:
    """The older owner writes on before and after the snapshot of the new one."""
    zombie, owner = Journal("n", FIRST), Journal("n", Epoch(2, 6))
    log = written(zombie, "sc")
    log += written(zombie, "c") + written(owner, "s") + written(zombie, "cs") + written(owner, "c")

    assert told(compacted(log + written(zombie, "s"))) == (Epoch(2, 6), [1, 2])


def test_of_two_owners_that_found_the_same_number_the_later_one_counts() -> None:
    log = written(Journal("n", FIRST), "s")
    earlier, later = (Journal("n", next_epoch(log, generation)) for generation in (8, 9))
    assert earlier.epoch.number == later.epoch.number

    log += written(later, "s") + written(earlier, "scc")

    assert told(log) == (Epoch(2, 9), [1])


def test_an_epoch_is_above_all_that_was_found_also_of_incomplete_ones() -> None:
    log = written(Journal("n", Epoch(3, 1)), "s") + written(Journal("n", Epoch(7, 9)), "s")[:1]

    assert next_epoch(log, 2) == Epoch(8, 2)
    assert next_epoch([], 2) == Epoch(1, 2)


def test_slots_are_taken_again_and_the_state_before_stays_whole() -> None:
    """Two generations of snapshots stand side by side; changes take the slots from the first."""
    owner = Journal("n", FIRST)
    log = written(owner, "sccsccc")

    assert {(p.stamp.snapshot, p.stamp.slot) for p in log} == {
        *((True, slot) for slot in (0, 1)),
        *((False, slot) for slot in (0, 1, 2)),
    }
    assert len(compacted(log)) == 10
    half = written(owner, "s")[:1]
    assert told(compacted(log + half)) == (FIRST, [4, 5, 6, 7])


def test_fewer_parts_than_before_leave_old_parts_that_count_for_nothing() -> None:
    owner = Journal("n", FIRST)
    log = written(owner, "sc", 4) + written(owner, "s", 2) + written(owner, "sc", 3)

    assert told(compacted(log)) == (FIRST, [4, 5])


def test_stamps_survive_as_keys() -> None:
    stamp = Stamp('é"/1', Epoch(2**40, 7), snapshot=True, slot=59, part=10**6)

    assert Stamp.from_bytes(stamp.to_bytes()) == stamp


def test_a_snapshot_is_wanted_first_and_after_so_many_changes() -> None:
    owner = Journal("n", FIRST)
    assert owner.wants_snapshot()
    owner.stamps(1, snapshot=True)

    for _ in range(MOST_CHANGES):
        assert not owner.wants_snapshot()
        owner.stamps(1, snapshot=False)

    assert owner.wants_snapshot()


@pytest.mark.parametrize(
    ("size", "limit"), [(0, LEAST_BYTES), (LEAST_BYTES // 2, LEAST_BYTES), (10**7, 10**7)]
)
def test_a_snapshot_is_wanted_when_changes_have_grown_larger_than_it(size: int, limit: int) -> None:
    owner = Journal("n", FIRST)
    for _ in range(2):
        owner.stamps(1, snapshot=True)
        owner.wrote(size, snapshot=True)
        owner.stamps(1, snapshot=False)
        owner.wrote(limit, snapshot=False)
        assert not owner.wants_snapshot()

        owner.wrote(1, snapshot=False)
        assert owner.wants_snapshot()


# A random history: owners come, write part by part, and are stopped anywhere; those of before may
# write on. The log is a compacted one: of each key only the last value is there.
State = dict[str, int]


@dataclass
class Log:
    """A compacted topic."""

    parts: dict[bytes, Part] = field(default_factory=dict)

    def put(self, key: bytes, part: Part | None) -> None:
        self.parts.pop(key, None)
        if part is not None:
            self.parts[key] = part

    def read(self) -> tuple[Epoch | None, State]:
        """The newest state, as a new owner finds it."""
        chain = chains(self.parts.values()).get("n")
        found: State = {}
        for parts in chain.generations if chain else []:
            if parts[0].stamp.snapshot:
                found = {}
            for part in parts:
                found |= json.loads(part.frame)
        return chain.epoch if chain else None, found


@dataclass
class Owner:
    """A worker that owns the state, or did; `saved` is what its last complete generation holds."""

    log: Log
    group_generation: int
    saved: State | None = None

    def __post_init__(self) -> None:
        found = list(self.log.parts.values())
        self.journal = Journal("n", next_epoch(found, self.group_generation))
        self.stale = list(self.log.parts)
        _, self.state = self.log.read()
        self.sending = self._endless()

    def _endless(self) -> Iterator[None]:
        for number in range(10**9):
            yield from self._generation(number)

    def _generation(self, number: int) -> Iterator[None]:
        """Some keys change; all of them, or these alone, are sent message by message."""
        changed = {f"k{(number * 7 + step) % 5}": number * 1000 + self.group_generation
                   for step in range(number % 3 + 1)}  # fmt: skip
        self.state |= changed
        snapshot = self.journal.wants_snapshot()
        items = list((self.state if snapshot else changed).items())
        many = (number + self.group_generation) % 3 + 1
        frames = [json.dumps(dict(items[part::many])).encode() for part in range(many)]
        if not snapshot:
            yield from self._tombstones()
        stamps = self.journal.stamps(many, snapshot=snapshot)
        for stamp, frame in zip(stamps, frames, strict=True):
            self.log.put(stamp.to_bytes(), Part(stamp, self.journal.generation, many, frame))
            if stamp.part == many - 1:
                self.saved = dict(self.state)
            yield

    def _tombstones(self) -> Iterator[None]:
        """As StateLog does it: behind the first snapshot what was found goes."""
        while self.stale:
            self.log.put(self.stale.pop(), None)
            yield

    def send(self, messages: int) -> None:
        """Send so many messages; the last generation may remain a stump."""
        for _ in range(messages):
            next(self.sending)


_own = st.just(("own", 0, 0))
_send = st.tuples(st.just("send"), st.integers(0, 3), st.integers(1, 12))
_history = st.lists(st.one_of(_own, _send, _send, _send), max_size=40)


def run(history: list[tuple[str, int, int]]) -> tuple[Log, list[Owner]]:
    """The log and its owners, the newest of them last; `send` counts them from the newest."""
    log, owners = Log(), list[Owner]()
    for what, who, messages in history:
        if what == "own":
            owners.append(Owner(log, len(owners)))
        elif who < len(owners):
            owners[-1 - who].send(messages)
        check(log, owners)
    return log, owners


def check(log: Log, owners: list[Owner]) -> None:
    """What the log tells is what the newest owner with a complete generation saved last."""
    complete = [owner for owner in owners if owner.saved is not None]
    newest: Any = max(complete, key=lambda owner: owner.journal.epoch, default=None)
    assert log.read() == ((newest.journal.epoch, newest.saved) if newest else (None, {}))


@SHORT
@given(_history)
def test_a_log_tells_the_last_complete_state_of_its_newest_owner(
    history: list[tuple[str, int, int]],
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(journal, "MOST_CHANGES", 3)
        run(history)


@SHORT
@given(_history)
def test_a_log_stays_small(history: list[tuple[str, int, int]]) -> None:
    """Two snapshots and the changes behind one, of the newest owner and those not yet cleared."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(journal, "MOST_CHANGES", 3)
        log, owners = run([*history, ("own", 0, 0), ("send", 0, 200)])

    assert {part.stamp.epoch for part in log.parts.values()} == {owners[-1].journal.epoch}
    assert len(log.parts) <= 3 * (2 + 3)
