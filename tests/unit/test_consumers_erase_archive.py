"""A subject leaves the files of the archive, and nothing else does."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from nilo_consumers.audit.in_lake import InLake
from nilo_consumers.erase import archive as cold
from nilo_consumers.tiers.manifest import Manifest
from nilo_schemas.settings import Settings
from tests.erasing import OTHERS, THEIRS, erased, filled, named_in
from tests.tiering import LLM, NEW, PARTITIONS, in_archive, in_lake, moved, tiered


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return tiered(tmp_path)


def test_files_of_the_archive_are_written_anew_and_stay_true(settings: Settings) -> None:
    filled(settings)
    moved(settings)
    (old,) = [each for each in Manifest(settings).entries(LLM) if each.tier == "cold"]
    list(cold.erase(settings, THEIRS))
    lines = [each for each in Manifest(settings).entries(LLM) if each.tier == "cold"]
    (new,) = [each for each in lines if not each.removed_at]
    (gone,) = [each for each in lines if each.removed_at]

    assert (gone.path, gone.reason, gone.rows + new.rows) == (old.path, "erased", old.rows)
    assert not (settings.archive_location / old.path).exists()
    assert sorted(in_archive(settings)) == [(p, o) for p, o in OTHERS if o < 40]
    lake_of = InLake(settings, checksums=True)
    lake_of.held(LLM, range(PARTITIONS))
    assert (lake_of.lost, lake_of.changed) == ([], [])
    assert moved(settings) == []


def test_a_damaged_file_of_the_archive_stays_and_the_others_are_done(settings: Settings) -> None:
    filled(settings)
    moved(settings, NEW + timedelta(days=30))
    files = [each for each in Manifest(settings).entries(LLM) if each.tier == "cold"]
    path = settings.archive_location / files[0].path
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    told = [line.left for line in cold.erase(settings, THEIRS) if line.left]
    path.write_bytes(whole)

    assert len(files) == 2
    assert len(told) == 1
    assert str(path) in (told[0] or "")
    (left,) = [line for line in cold.count(settings, THEIRS) if line.rows]
    assert left.files == 1
    list(cold.erase(settings, THEIRS))
    assert sorted(in_archive(settings)) == OTHERS


def test_what_a_killed_move_has_left_in_the_archive_goes_too(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It wrote a file and ended before the manifest had it: the lake has these rows."""
    filled(settings)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Manifest, "add", killed)
        with pytest.raises(KeyboardInterrupt):
            moved(settings)
    assert list(settings.archive_location.rglob("*.avro"))
    erased(settings)
    assert not list(settings.archive_location.rglob("*.avro"))
    moved(settings)

    assert sorted(in_lake(settings) + in_archive(settings)) == OTHERS
    assert named_in(settings.home) == []


def test_a_file_of_the_archive_whose_rows_are_nowhere_else_is_told_and_stays(
    settings: Settings,
) -> None:
    filled(settings)
    moved(settings)
    (one,) = settings.archive_location.rglob("*.avro")
    other = settings.model_copy(update={"lake": str(settings.home / "other")})
    told = [line.left for line in cold.erase(other, THEIRS) if line.left]

    assert one.exists()
    assert [str(one) in (each or "") for each in told] == [True]
