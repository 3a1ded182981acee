"""What the manifest and the audit say of files in both tiers."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from nilo_consumers.audit.in_lake import InLake
from nilo_consumers.audit.spans import repeated, union
from nilo_consumers.batch import Span
from nilo_consumers.lake import existing_table
from nilo_consumers.tiers import archive
from nilo_consumers.tiers.warm import WarmDay
from nilo_schemas.settings import Settings
from tests.tiering import (
    ALL,
    LLM,
    NEW,
    OLD,
    OLDER,
    PARTITIONS,
    filled,
    in_archive,
    in_lake,
    lines,
    moved,
    tiered,
)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return tiered(tmp_path)


def test_the_audit_counts_each_row_once_while_a_day_is_in_both_tiers(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a run leaves it that was killed before the lake's commit; later, and with a fault."""
    filled(settings)
    with monkeypatch.context() as patched:
        patched.setattr(WarmDay, "leave", lambda _: None)
        moved(settings)
    assert len(in_lake(settings) + in_archive(settings)) > len(ALL)
    for _ in range(2):
        held = InLake(settings).held(LLM, range(PARTITIONS))
        assert {p: union(each.rows) for p, each in held.items()} == {
            number: [Span(0, 70)] for number in range(PARTITIONS)
        }
        assert [repeated(each.rows) for each in held.values()] == [[], []]
        moved(settings)
    (old,) = [each for each in lines(settings, "cold") if each.event_date == OLD]
    (settings.archive_location / old.path).unlink()
    lake = InLake(settings)
    held = lake.held(LLM, range(PARTITIONS))

    assert lake.lost == [str(settings.archive_location / old.path)]
    assert {p: union(each.rows) for p, each in held.items()} == {
        number: [Span(20, 50)] for number in range(PARTITIONS)
    }


def test_checksums_find_a_changed_file_of_the_lake(settings: Settings) -> None:
    filled(settings)
    moved(settings)
    (one, *_) = lines(settings, "warm")
    path = Path(settings.lake_location, one.path)
    whole = InLake(settings, checksums=True)
    whole.held(LLM, [0])
    content = bytearray(path.read_bytes())
    content[5] ^= 1  # of a page's header, which a reader of other columns does not see
    path.write_bytes(content)
    changed = InLake(settings, checksums=True)
    changed.held(LLM, [0])

    assert (whole.changed, changed.changed) == ([], [one.path])


def test_cold_days_end_and_the_manifest_remembers_their_offsets(settings: Settings) -> None:
    filled(settings)
    moved(settings)
    over = OLDER + timedelta(days=101)
    assert moved(settings, over - timedelta(days=1))[-1].event_date != OLDER
    steps = [step for step in moved(settings, over) if step.step == "delete from archive"]

    assert [(step.event_date, step.rows) for step in steps] == [(OLDER, 20)]
    (gone,) = [each for each in lines(settings, "cold") if each.removed_at]
    assert (gone.reason, gone.rows) == ("expired", 20)
    assert gone.offsets == ((0, Span(40, 50)), (1, Span(40, 50)))
    assert not (settings.archive_location / gone.path).exists()
    assert sorted(set(ALL) - set(in_lake(settings) + in_archive(settings))) == [
        (partition, offset) for partition in range(2) for offset in range(40, 50)
    ]


def test_the_manifest_knows_the_files_of_the_lake(settings: Settings) -> None:
    filled(settings)
    moved(settings)
    warm = lines(settings, "warm")

    assert {each.event_date for each in warm} == {NEW}
    assert sum(each.rows for each in warm) == 40
    for each in warm:
        path = Path(settings.lake_location, each.path)
        assert (each.size, each.sha256) == (path.stat().st_size, archive.checksum(path))
    table = existing_table(settings, LLM)
    assert table is not None
    table.optimize.compact()
    moved(settings)
    (one,) = lines(settings, "warm")
    assert one.rows == 40
    assert one.path not in {each.path for each in warm}
