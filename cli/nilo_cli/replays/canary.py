"""The last events of each family through a version that is to be tried, against what is live."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nilo_cli.output import tell
from nilo_cli.replays.difference import Difference, against_live
from nilo_cli.replays.live import Live
from nilo_cli.replays.ranges import Asked
from nilo_cli.replays.running import make
from nilo_cli.replays.staging import Staging, again
from nilo_cli.replays.stores import store_of
from nilo_cli.times import time_of
from nilo_schemas.catalogue import Catalogue
from nilo_schemas.settings import Settings
from nilo_stream_processors.engine.columns import ints
from nilo_stream_processors.replay.folder import Folder

_MINUTE = 60_000_000


@dataclass(frozen=True)
class Tried:
    """What became of a family: how many events, and what differs; nothing where there are none."""

    topic: str
    events: int
    difference: Difference | None

    @property
    def is_blind(self) -> bool:
        """Whether there was something to compare, and all of it the processors have yet to see."""
        found = self.difference
        return bool(found and found.cut and not found.windows.equal and not found.windows.differ)


def tried(
    settings: Settings, catalogue: Catalogue, topic: str, *, staging: Staging, last: int, live: Live
) -> Tried:
    """The last events of a family.

    Whole windows need events before these as well: reading begins with the minute of the earliest.

    Raises:
        NiloError: a store does not answer, or the other version cannot be installed or fails.
    """
    with tempfile.TemporaryDirectory(prefix="nilo-canary-") as name:
        folder = Path(name)
        newest = make(settings, _last(settings, topic, last), catalogue, out=folder / "newest")
        begin = _earliest(settings, newest)
        if begin is None:
            return Tried(topic, 0, None)
        asked = Asked("kafka", [topic], since=time_of(begin - begin % _MINUTE))
        like = make(settings, asked, catalogue, out=folder / "like")
        tell(f"{topic}: {like.manifest().range.events():,} events")
        found = again(settings, like, staging, workers=1)
        try:
            return Tried(topic, _taken(found), against_live(settings, found, live))
        finally:
            shutil.rmtree(found.path)


def _last(settings: Settings, topic: str, last: int) -> Asked:
    each = max(1, last // settings.partitions)
    return Asked("kafka", [topic], offsets=[f"-{each}"])


def _earliest(settings: Settings, folder: Folder) -> int | None:
    """When the first of the events happened; None when there are none."""
    manifest = folder.manifest()
    store = store_of(settings, manifest)
    times = [
        int(np.min(ints(rows.batch.column("time"))))
        for stretch in manifest.range.parts()
        if stretch.first < stretch.stop
        for rows in store.read(stretch)
        if rows.batch.num_rows
    ]
    return min(times, default=None)


def _taken(folder: Folder) -> int:
    return int((folder.summary() or {}).get("events", 0))
