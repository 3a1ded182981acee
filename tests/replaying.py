"""Replays of events in memory: cut into stretches of any length, stopped anywhere, gone on with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from nilo_schemas.alerts import Alert
from nilo_schemas.catalogue import Catalogue
from nilo_stream_processors.engine.merge import Source
from nilo_stream_processors.replay.folder import Folder
from nilo_stream_processors.replay.manifest import Manifest, Range, Rules
from nilo_stream_processors.replay.rows import Rows, Stretch
from nilo_stream_processors.replay.runner import Pacing, Runner, Tally
from tests.rows import Row, batch_of

Events = Mapping[Source, Sequence[Row]]


@dataclass(frozen=True)
class Kept:
    """Events in memory, given in stretches of so many, in turn."""

    events: Events
    cuts: Sequence[int]

    def read(self, stretch: Stretch) -> Iterator[Rows]:
        """The events of a stretch."""
        mine = [
            row
            for row in self.events[stretch.source]
            if stretch.first <= row["offset"] < stretch.stop
        ]
        turn = 0
        while mine:
            many = self.cuts[turn % len(self.cuts)]
            some, mine, turn = mine[:many], mine[many:], turn + 1
            offsets = np.array([row["offset"] for row in some], np.int64)
            stamps = 1000 * np.array([row["timestamp"] for row in some], np.int64)
            yield Rows(batch_of(stretch.source[0], some), offsets, stamps, int(offsets[-1]) + 1)


class StoppedError(Exception):
    """The run was stopped where the test wanted it."""


@dataclass(frozen=True)
class Replay:
    """A replay of events by a catalogue.

    Args:
        rules: out of order, grace, future bound, in microseconds, and the cap of series.
        partitions: of each topic.
    """

    events: Events
    catalogue: Catalogue
    rules: Mapping[str, int]
    partitions: int

    def manifest(self) -> Manifest:
        """What it is of."""
        stretches = [
            (*source, 0, 1 + max((row["offset"] for row in rows), default=-1))
            for source, rows in sorted(self.events.items())
        ]
        told: Any = self.catalogue.model_dump(mode="json", by_alias=True, exclude_defaults=True)
        return Manifest(
            id="r",
            made_at=datetime.now(UTC),
            version="0",
            range=Range(store="kafka", stretches=stretches),
            rules=Rules(
                partitions=self.partitions,
                series_cap=self.rules["series_cap"],
                disorder=self.rules["bound"],
                grace=self.rules["grace"],
                future=self.rules["future_bound"],
            ),
            catalogue=told,
        )

    def run(self, path: Path, cuts: Sequence[int] = (1000,), stops: Sequence[int] = ()) -> Folder:
        """Run it to its end; stopped after so many reads, with a checkpoint or without, each time.

        A negative number is a stop right behind a checkpoint, a positive one some reads behind it.
        """
        folder = Folder(path)
        folder.create(self.manifest())
        for reads in stops:
            self._stopped(folder, cuts, reads)
        _runner(folder, Kept(self.events, cuts)).run()
        return folder

    def _stopped(self, folder: Folder, cuts: Sequence[int], reads: int) -> None:
        left = abs(reads)

        def count(_tally: Tally) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                runner.save()
                if reads < 0:
                    raise StoppedError
            elif left == -2:
                raise StoppedError

        if folder.summary() is None:
            runner = _runner(folder, Kept(self.events, cuts), count)
            with suppress(StoppedError):
                runner.run()


def _runner(folder: Folder, store: Kept, progress: Any = lambda _tally: None) -> Runner:
    return Runner(folder, store, publisher=None, pacing=Pacing(), progress=progress)


def newest(folder: Folder) -> dict[tuple[Any, ...], Row]:
    """The newest revision of each window that there is, by metric, length, start and labels."""
    found: dict[tuple[Any, ...], Row] = {}
    for batch in folder.windows():
        for row in batch.to_pylist(maps_as_pydicts="strict"):
            labels = tuple(row["dimensions"].items())
            key = row["metric"], row["window"], row["window_start"], labels
            if key not in found or found[key]["revision"] <= row["revision"]:
                found[key] = row
    return {key: found[key] for key in sorted(found) if found[key]["count"]}


def said(folder: Folder) -> list[Alert]:
    """The transitions, by their ids."""
    return sorted(folder.alerts(), key=lambda alert: alert.id)
