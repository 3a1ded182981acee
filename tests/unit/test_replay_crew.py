"""Replays that several processes read, and what becomes of them when one has a misfortune."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from nilo_schemas.catalogue import Catalogue
from nilo_stream_processors.replay.crew import ReaderDiedError
from nilo_stream_processors.replay.errors import GoneError
from nilo_stream_processors.replay.folder import Folder, FolderError
from nilo_stream_processors.replay.rows import Rows, Store, Stretch
from nilo_stream_processors.replay.runner import Pacing, Runner, Tally
from tests.replaying import Kept, Replay, newest, said
from tests.rows import LLM, START, Row, call, measured

SECONDS, READ = 300, 10
RULE = {
    "name": "Calls", "metric": "m", "window": "10s", "when": "count > 1", "severity": "info",
}  # fmt: skip
CATALOGUE = Catalogue.model_validate({"metrics": {"m": measured()}, "rules": {"Calls": RULE}})
EVENTS = {(LLM, number): [
    call(second) | {"offset": second, "timestamp": START // 1000 + 1000 * second}
    for second in range(SECONDS)
] for number in range(3)}  # fmt: skip
RULES = {"bound": 2_000_000, "grace": 5_000_000, "future_bound": 3600 * 10**6, "series_cap": 100}


@dataclass(frozen=True)
class Unlucky:
    """Somewhere behind the half of the second partition something happens to the reader."""

    store: Kept
    misfortune: str

    def read(self, stretch: Stretch) -> Iterator[Rows]:
        """Half of a stretch; all of it where nothing happens."""
        for rows in self.store.read(stretch):
            yield rows
            if stretch.source[1] == 1 and rows.next > SECONDS / 2:
                self._happen(stretch, rows.next)

    def _happen(self, stretch: Stretch, offset: int) -> None:
        if self.misfortune == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.misfortune == "gone":
            raise GoneError(stretch, offset)
        raise FileNotFoundError(2, "no such file", "the archive")


def runner(folder: Folder, store: Store, every: int = 10**9) -> Runner:
    """With two processes, and a checkpoint after so many reads."""
    reads = 0

    def save(_tally: Tally) -> None:
        nonlocal reads
        reads += 1
        if reads % every == 0:
            made.save()

    made = Runner(folder, store, publisher=None, pacing=Pacing(workers=2), progress=save)
    return made


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    folder = Folder(tmp_path / "r")
    folder.create(REPLAY.manifest())
    return folder


REPLAY = Replay(EVENTS, CATALOGUE, RULES, 3)
STORE = Kept(EVENTS, [READ])


def results(folder: Folder) -> tuple[list[Row], list[str]]:
    return list(newest(folder).values()), [alert.id for alert in said(folder)]


@pytest.mark.parametrize("every", [7, 10**9])
def test_a_reader_that_dies_is_told_and_another_run_goes_on(
    folder: Folder, tmp_path: Path, every: int
) -> None:
    whole = REPLAY.run(tmp_path / "whole")
    with pytest.raises(ReaderDiedError, match=r"signal 9.*nilo replay resume"):
        runner(folder, Unlucky(STORE, "killed"), every).run()

    runner(folder, STORE).run()
    assert results(folder) == results(whole)
    assert len(results(whole)[0]) == SECONDS / 10


def test_what_a_reader_meets_is_told_by_the_one_who_leads(folder: Folder) -> None:
    with pytest.raises(GoneError, match="offset 160 is deleted") as gone:
        runner(folder, Unlucky(STORE, "gone")).run()
    assert (gone.value.stretch.source, gone.value.offset) == ((LLM, 1), 160)
    with pytest.raises(FileNotFoundError, match="the archive"):
        runner(folder, Unlucky(STORE, "no file"), 5).run()


def test_one_runs_a_replay_at_a_time(folder: Folder) -> None:
    with folder.alone(), pytest.raises(FolderError, match="is running already"), folder.alone():
        pytest.fail("two run it")
    with folder.alone():
        assert folder.summary() is None
