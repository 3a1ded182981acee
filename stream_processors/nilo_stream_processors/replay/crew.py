"""Who reads for a replay: this process alone, or several, each some of the source partitions."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections import defaultdict, deque
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from nilo_schemas.catalogue import Catalogue
from nilo_schemas.collector import keep_memory, tune_gc
from nilo_schemas.errors import NiloError
from nilo_stream_processors.engine.merge import Source
from nilo_stream_processors.replay.manifest import Manifest
from nilo_stream_processors.replay.reading import Kept, Pace, Read, Reading
from nilo_stream_processors.replay.rows import Store, Stretch

_KEEP = "keep"
# What each process needs is imported once, in the process that they are forked from.
_HEAVY = ("nilo_stream_processors.replay.kafka_store", "confluent_kafka.schema_registry")


class ReaderDiedError(NiloError):
    """A process that read for a replay is gone."""


class Crew:
    """Gives what was read of each source in order, whoever reads it.

    Args:
        readings: one for each who reads; the first two have processes of their own if there are
            several.
    """

    def __init__(self, hands: list[_Hand]) -> None:
        self._hands = hands
        self._of = {source: hand for hand in hands for source in hand.sources}
        self._waiting: dict[Source, deque[Read]] = defaultdict(deque)

    @classmethod
    def of(
        cls,
        manifest: Manifest,
        catalogue: Catalogue,
        store: Store,
        stretches: list[Stretch],
        *,
        kept: Mapping[Source, Kept],
        waiting: list[Read],
        pace: Pace,
        workers: int,
    ) -> Crew:
        """As many as there is work for, at most `workers`; with one this process reads itself."""
        count = max(1, min(workers, len(stretches)))
        shares = [stretches[number::count] for number in range(count)]
        pace = pace.shared(count)
        given = [_Given(manifest, catalogue, store, share, kept, pace) for share in shares]
        crew = cls([_Alone(*given)] if count == 1 else [_Other(each) for each in given])
        for read in waiting:
            crew._waiting[read.source].append(read)
        return crew

    def next(self, source: Source) -> Read:
        """What was read next of a source; raises what reading it met."""
        mine = self._waiting[source]
        while not mine:
            for read in self._of[source].take():
                self._waiting[read.source].append(read)
        return mine.popleft()

    def kept(self) -> tuple[dict[Source, Kept], list[Read]]:
        """The state of all sources, and what was read of them by then and not taken yet."""
        states: dict[Source, Kept] = {}
        for hand in self._hands:
            found, reads = hand.kept()
            states |= found
            for read in reads:
                self._waiting[read.source].append(read)
        return states, [read for waiting in self._waiting.values() for read in waiting]

    def close(self) -> None:
        """End the processes."""
        for hand in self._hands:
            hand.close()


@dataclass(frozen=True)
class _Given:
    """What a reading is made of, wherever it is made."""

    manifest: Manifest
    catalogue: Catalogue
    store: Store
    stretches: list[Stretch]
    kept: Mapping[Source, Kept]
    pace: Pace

    def reading(self) -> Reading:
        keep_memory()
        return Reading(
            self.manifest,
            self.catalogue,
            self.store,
            self.stretches,
            kept=self.kept,
            pace=self.pace,
        )


class _Alone:
    """This process reads, whenever it is asked."""

    def __init__(self, given: _Given) -> None:
        self._reading = given.reading()
        self._reads = self._reading.reads()
        self.sources = self._reading.sources()

    def take(self) -> list[Read]:
        return next(self._reads)

    def kept(self) -> tuple[dict[Source, Kept], list[Read]]:
        reads = self._reading.rest()
        return self._reading.kept(), reads

    def close(self) -> None:
        pass


class _Other:
    """A process reads ahead, as far as the pipe has room."""

    def __init__(self, given: _Given) -> None:
        self.sources = [stretch.source for stretch in given.stretches]
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([__name__, *_HEAVY])
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(theirs, given), daemon=True)
        self._process.start()
        theirs.close()

    def take(self) -> list[Read]:
        found = self._receive()
        if isinstance(found, Exception):
            raise found
        reads: list[Read] = found
        return reads

    def kept(self) -> tuple[dict[Source, Kept], list[Read]]:
        with suppress(OSError):  # that of a process which died: it is met below
            self._pipe.send(_KEEP)
        reads: list[Read] = []
        while not isinstance(found := self._receive(), dict):
            if isinstance(found, Exception):
                raise found
            reads += found
        return found, reads

    def _receive(self) -> Any:
        try:
            return self._pipe.recv()
        except (EOFError, ConnectionResetError):
            self._process.join()
            raise ReaderDiedError(
                f"a process that read died ({_exit(self._process.exitcode)}); nothing is lost: "
                "`nilo replay resume` goes on from the last checkpoint"
            ) from None

    def close(self) -> None:
        self._pipe.close()
        self._process.terminate()
        self._process.join()


_Hand = _Alone | _Other


def _exit(code: int | None) -> str:
    return f"signal {-code}" if code is not None and code < 0 else f"code {code}"


def _work(pipe: Connection, given: _Given) -> None:
    """The process: it sends what it reads, its state when asked, and at last what went wrong."""
    # An interrupt is for the one who leads.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    tune_gc()
    with suppress(BrokenPipeError, EOFError, ConnectionResetError):
        reading = given.reading()
        try:
            _send_all(pipe, reading, reading.reads())
        except (NiloError, OSError) as error:
            pipe.send(error)
        while pipe.recv() == _KEEP:
            _keep(pipe, reading)
    os._exit(0)  # nothing is left to be closed, and Arrow's threads may be at work


def _send_all(pipe: Connection, reading: Reading, reads: Iterator[list[Read]]) -> None:
    for some in reads:
        pipe.send(some)
        while pipe.poll():
            pipe.recv()
            _keep(pipe, reading)


def _keep(pipe: Connection, reading: Reading) -> None:
    pipe.send(reading.rest())
    pipe.send(reading.kept())
