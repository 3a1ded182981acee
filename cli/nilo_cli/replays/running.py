"""Makes a replay, and runs it: with progress for people, and an end that can be gone on from."""

from __future__ import annotations

import os
import secrets
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from nilo_cli.replays.catalogues import narrowed, to_json
from nilo_cli.replays.days import within_days
from nilo_cli.replays.gone import told
from nilo_cli.replays.ranges import Asked, range_of
from nilo_cli.replays.stores import store_of
from nilo_schemas.catalogue import Catalogue
from nilo_schemas.errors import NiloError
from nilo_schemas.settings import Settings
from nilo_schemas.topics import create_result_topics
from nilo_stream_processors.replay.errors import GoneError
from nilo_stream_processors.replay.folder import Folder, FolderError, folders
from nilo_stream_processors.replay.manifest import NEVER_LATE, Manifest, Range, Rules
from nilo_stream_processors.replay.publishing import Publisher
from nilo_stream_processors.replay.runner import Pacing, Runner, Tally

# Another process that reads is worth what it costs from so many events on.
_EVENTS_EACH = 1_000_000


def home_of(settings: Settings) -> Path:
    """The folder of the replays of an installation."""
    return settings.home / "replays"


def folder_of(settings: Settings, name: str) -> Folder:
    """The replay that an id or a folder names; raises FolderError when there is none."""
    mine = Folder(home_of(settings) / name)
    folder = mine if (mine.path / "manifest.json").exists() else Folder(Path(name))
    if not (folder.path / "manifest.json").exists():
        known = ", ".join(each.path.name for each in folders(home_of(settings))) or "none"
        raise FolderError(f"there is no replay {name!r}; there are: {known}")
    return folder


def new_id() -> str:
    """A name that no replay has."""
    return f"{datetime.now(UTC):%m%d-%H%M}-{secrets.token_hex(2)}"


def make(
    settings: Settings,
    asked: Asked,
    catalogue: Catalogue,
    *,
    out: Path | None,
    take_late: bool = False,
) -> Folder:
    """Make a replay that has not begun.

    Args:
        settings: of the installation.
        asked: which events.
        catalogue: whole; what is not needed of it is left out.
        out: files alone, in this folder; None: topics of its own as well.
        take_late: no event is too late.

    Raises:
        NiloError: the range is not there, or the folder is taken.
    """
    mine = narrowed(catalogue, asked.topics, asked.where)
    there = within_days(settings, replace(asked, topics=mine.topics()))
    found = range_of(settings, there, mine)
    return make_from(settings, found, catalogue, out=out, take_late=take_late)


def make_from(
    settings: Settings,
    found: Range,
    catalogue: Catalogue,
    *,
    out: Path | None,
    take_late: bool = False,
) -> Folder:
    """As `make`, of a range that is known."""
    name = out.name if out and out.parent == home_of(settings) else new_id()
    manifest = Manifest(
        id=name,
        made_at=datetime.now(UTC),
        version=version("nilometer"),
        range=found,
        rules=_rules(settings, take_late=take_late),
        catalogue=to_json(narrowed(catalogue, found.topics(), found.where)),
        namespace=None if out else f"{settings.topic_prefix}replay.{name}.",
    )
    folder = Folder(out or home_of(settings) / name)
    folder.create(manifest)
    if manifest.namespace is not None:
        create_result_topics(settings, manifest.namespace)
    return folder


def run(
    settings: Settings, folder: Folder, *, speed: float | None, workers: int | None
) -> dict[str, Any]:
    """Run a replay to its end, from where it is; its summary.

    Raises:
        FolderError: it is running already.
        NiloError: reading failed; it goes on from the last checkpoint when it is resumed.
        KeyboardInterrupt: somebody stopped it; so is this.
    """
    with folder.alone(), _stopped_by_term():
        done = folder.summary()
        return done or _run(settings, folder, speed=speed, workers=workers)


def _run(
    settings: Settings, folder: Folder, *, speed: float | None, workers: int | None
) -> dict[str, Any]:
    with _progress(folder.manifest().range.events()) as progress:
        mine = runner(settings, folder, speed=speed, workers=workers, progress=progress)
        try:
            return mine.run()
        except GoneError as error:
            raise NiloError(told(settings, error)) from error


def runner(
    settings: Settings,
    folder: Folder,
    *,
    speed: float | None,
    workers: int | None,
    progress: Callable[[Tally], None],
) -> Runner:
    """What runs a replay; `progress` is told, whenever something was read."""
    manifest = folder.manifest()
    worth = min(os.cpu_count() or 1, 1 + manifest.range.events() // _EVENTS_EACH)
    pacing = Pacing(workers or worth, speed, settings.replay_rate)
    publisher = Publisher(settings, manifest.namespace) if manifest.namespace else None
    store = store_of(settings, manifest)
    return Runner(folder, store, publisher=publisher, pacing=pacing, progress=progress)


def _rules(settings: Settings, *, take_late: bool) -> Rules:
    disorder, grace, future = (
        round(seconds * 1e6)
        for seconds in (settings.out_of_orderness, settings.grace, settings.future_bound)
    )
    return Rules(
        partitions=settings.partitions,
        series_cap=settings.series_cap,
        disorder=disorder,
        grace=NEVER_LATE if take_late else grace,
        future=future,
    )


@contextmanager
def _stopped_by_term() -> Iterator[None]:
    """SIGTERM stops as Ctrl-C does."""

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _progress(events: int) -> Iterator[Callable[[Tally], None]]:
    """A bar on standard error with rate and time left, when somebody looks at it."""
    if not sys.stderr.isatty():
        yield lambda _tally: None
        return
    from rich.console import Console  # noqa: PLC0415  only where something is drawn
    from rich.progress import (  # noqa: PLC0415  as above
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]} events/s"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task, begin = bar.add_task("", total=events, rate="0"), time.monotonic()
        first: list[int] = []

        def show(tally: Tally) -> None:
            first[:] = first or [tally.offsets]
            passed = max(time.monotonic() - begin, 1e-3)
            rate = f"{(tally.offsets - first[0]) / passed:,.0f}"
            bar.update(task, completed=tally.offsets, rate=rate)

        yield show
