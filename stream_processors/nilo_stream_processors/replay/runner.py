"""A replay from its first event to its last, with checkpoints in between."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from nilo_schemas.catalogue import Catalogue
from nilo_stream_processors.engine.merge import Source
from nilo_stream_processors.engine.rebuild import Rebuild
from nilo_stream_processors.replay import checkpoint
from nilo_stream_processors.replay.crew import Crew
from nilo_stream_processors.replay.folder import Folder
from nilo_stream_processors.replay.publishing import Publisher
from nilo_stream_processors.replay.reading import Kept, Pace, Read
from nilo_stream_processors.replay.results import Results
from nilo_stream_processors.replay.rows import Store

CHECKPOINT_SECONDS = 10.0
# One who paces wants to see what closes.
_PACED_SECONDS = 1.0


@dataclass
class Tally:
    """What became of the events: taken in, refused as late or from the future, not decoded."""

    offsets: int = 0
    events: int = 0
    late: int = 0
    future: int = 0
    unread: Counter[str] = field(default_factory=Counter)

    def add(self, read: Read) -> None:
        """Count what was read."""
        self.unread.update({str(reason): count for reason, count in read.unread.items()})
        if read.piece is not None:
            self.events += read.piece.taken.rows
            self.late += read.piece.taken.late
            self.future += read.piece.taken.future


@dataclass(frozen=True)
class Pacing:
    """How fast a replay goes.

    Args:
        workers: processes that read.
        speed: seconds of event time in a second; None: as fast as it goes.
        rate: events a second at most; None: no limit.
    """

    workers: int = 1
    speed: float | None = None
    rate: float | None = None


class Runner:
    """Runs a replay, from its checkpoint if there is one.

    Args:
        folder: of the replay, made already.
        store: where its events are.
        publisher: puts results into topics as well; None: files alone.
        pacing: how fast.
        progress: is told, whenever something was read, what has become of it so far.
    """

    def __init__(
        self,
        folder: Folder,
        store: Store,
        *,
        publisher: Publisher | None,
        pacing: Pacing,
        progress: Callable[[Tally], None],
    ) -> None:
        self._folder, self._pacing, self._progress = folder, pacing, progress
        self._manifest = folder.manifest()
        catalogue = Catalogue.model_validate(self._manifest.catalogue)
        stretches = self._manifest.range.parts()
        self._first = {stretch.source: stretch.first for stretch in stretches}
        self._next = dict(self._first)
        self._rebuild = Rebuild(
            catalogue,
            self._manifest.rules.shape(),
            [stretch.source for stretch in stretches],
            since=self._manifest.range.begin(),
        )
        self._results = Results(folder, self._manifest.range, publisher)
        self._tally, self._pacer = Tally(), _Pacer(pacing.speed)
        kept, waiting = self._restored()
        ended = {read.source for read in waiting if read.ended}
        ended |= {source for source, mark in self._rebuild.marks.items() if mark.idle}
        left = [each for each in stretches if each.source not in ended]
        self._crew = Crew.of(
            self._manifest,
            catalogue,
            store,
            left,
            kept=kept,
            waiting=waiting,
            pace=Pace(None if pacing.speed is None else round(pacing.speed * 1e6), pacing.rate),
            workers=pacing.workers,
        )

    def run(self) -> dict[str, Any]:
        """Run to the end; the summary that the folder has from then on.

        Raises:
            NiloError: reading or publishing failed; another run goes on from the last checkpoint.
            OSError: the disk is full, or not ours.
        """
        seconds = CHECKPOINT_SECONDS if self._pacing.speed is None else _PACED_SECONDS
        saved = time.monotonic()
        try:
            while (source := self._rebuild.next_source()) is not None:
                self._take(self._crew.next(source))
                if time.monotonic() - saved > seconds:
                    self.save()
                    saved = time.monotonic()
            return self._finish()
        finally:
            self._crew.close()

    def _take(self, read: Read) -> None:
        self._tally.add(read)
        self._next[read.source] = read.next
        if read.ended:
            self._rebuild.end(read.source, self._manifest.range.until or 0)
        elif read.piece is not None:
            self._results.add(self._rebuild.take(read.piece))
            self._pacer.wait(read.piece.mark.watermark)
        self._tally.offsets = sum(self._next.values()) - sum(self._first.values())
        self._progress(self._tally)

    def save(self) -> None:
        """Put results and state on disk: what dies from now on goes on from here."""
        self._results.add(self._rebuild.close())
        kept, waiting = self._crew.kept()
        header, batches = checkpoint.stored(kept, waiting)
        rebuilt, state = self._rebuild.stored()
        self._results.cut()
        header |= {
            **self._results.state(),
            "tally": vars(self._tally),
            "next": [[*source, number] for source, number in self._next.items()],
            "rebuild": rebuilt,
        }
        named = [(f"{checkpoint.REBUILD}{name}", batch) for name, batch in state]
        self._folder.save(header, [*named, *batches])

    def _restored(self) -> tuple[dict[Source, Kept], list[Read]]:
        saved = self._folder.saved()
        if saved is None:
            self._folder.drop_beyond(0)
            return {}, []
        header, batches = saved
        self._folder.drop_beyond(header["parts"])
        mine = [
            (name.removeprefix(checkpoint.REBUILD), batch)
            for name, batch in batches
            if name.startswith(checkpoint.REBUILD)
        ]
        self._rebuild.restore(header["rebuild"], mine)
        for name in ("parts", "windows", "alerts"):
            setattr(self._results, name, header[name])
        self._next |= {(topic, number): next_ for topic, number, next_ in header["next"]}
        told = header["tally"]
        self._tally = Tally(**(told | {"unread": Counter(told["unread"])}))
        return checkpoint.restored(header, batches)

    def _finish(self) -> dict[str, Any]:
        self._results.add(self._rebuild.close())
        self._results.cut()
        summary = {
            **self._results.state(),
            **vars(self._tally),
            "clocks": self._rebuild.clocks(),
        }
        self._folder.finish(summary)
        return summary


class _Pacer:
    """Lets event time pass at a speed, from the first event on."""

    def __init__(self, speed: float | None) -> None:
        self._speed, self._begin = speed, (0.0, 0)

    def wait(self, watermark: int) -> None:
        """Wait until an event time (µs) has come."""
        if self._speed is None or watermark <= 0:
            return
        if self._begin[1] == 0:
            self._begin = time.monotonic(), watermark
        due = self._begin[0] + (watermark - self._begin[1]) / 1e6 / self._speed
        time.sleep(max(0.0, due - time.monotonic()))
