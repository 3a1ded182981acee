"""The lake's days move to the archive and leave it: nothing lost, nothing twice. No servers."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import fastavro
import pyarrow as pa
import pytest

from nilo_cli.stored_events import stored_events
from nilo_consumers import StoreRefusedError, StoreUnavailableError, count_parquet
from nilo_consumers.audit.in_lake import InLake
from nilo_consumers.audit.spans import repeated, union
from nilo_consumers.batch import ORIGIN, Batch, Span
from nilo_consumers.delta import DeltaSink
from nilo_consumers.events import Selection
from nilo_consumers.lake import existing_table
from nilo_consumers.tiers import archive
from nilo_consumers.tiers.manifest import Entry, Manifest
from nilo_consumers.tiers.policy import policies
from nilo_consumers.tiers.read import archived_days, archived_rows
from nilo_consumers.tiers.run import Step, run
from nilo_consumers.tiers.warm import WarmDay
from nilo_schemas.arrow import arrow_schema
from nilo_schemas.errors import SettingsError
from nilo_schemas.families import LlmEvent
from nilo_schemas.settings import Settings

LLM = "events.llm"
TODAY = date(2026, 6, 30)
OLD, OLDER, NEW = date(2026, 5, 1), date(2026, 4, 1), date(2026, 6, 29)
PARTITIONS = 2


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Only the lake and the archive; ten warm days, 100 cold ones."""
    return Settings(
        home=tmp_path, lake=str(tmp_path / "lake"), warm_days=10, cold_days=100, hot_days=5
    )


def rows_of(number: int, day: date, partition: int, start: int) -> list[dict[str, Any]]:
    """Events of a day with the offsets from `start`, the values of which differ."""
    plain = LlmEvent(type="llm.call", source="test").to_avro() | {"severity": "INFO"}
    noon = datetime(day.year, day.month, day.day, 12, tzinfo=UTC)
    return [
        plain | {
            "id": f"{partition}-{offset}",
            "time": noon + timedelta(microseconds=offset),
            "duration": offset,
            "attributes": [("number", str(offset)), ("é", '"')],
            "kafka_partition": partition,
            "kafka_offset": offset,
        }
        for offset in range(start, start + number)
    ]  # fmt: skip


def write(settings: Settings, rows: Sequence[dict[str, Any]]) -> None:
    """As the sink of the lake writes a batch."""
    sink, topic = DeltaSink(settings), settings.topic_prefix + LLM
    sink.connect([(topic, number) for number in range(PARTITIONS)])
    table = pa.Table.from_pylist(list(rows), pa.schema([*arrow_schema(LlmEvent), *ORIGIN]))
    spans: dict[int, Span] = {}
    for row in rows:
        number, offset = row["kafka_partition"], row["kafka_offset"]
        first = spans.get(number, Span(offset, offset))
        spans[number] = Span(min(first.start, offset), max(first.end, offset + 1))
    sink.write(Batch(topic, table, spans))
    sink.close()


def filled(settings: Settings) -> None:
    """Three days, out of order and over two partitions: 140 rows."""
    for partition in range(PARTITIONS):
        write(settings, rows_of(20, OLD, partition, 0)[::-1] + rows_of(20, NEW, partition, 20))
        write(settings, rows_of(10, OLDER, partition, 40) + rows_of(20, OLD, partition, 50))


def moved(settings: Settings, today: date = TODAY, *, dry_run: bool = False) -> list[Step]:
    return list(run(settings, [LLM], today, dry_run=dry_run))


def lines(settings: Settings, tier: str) -> list[Entry]:
    return [each for each in Manifest(settings).entries(LLM) if each.tier == tier]


def in_lake(settings: Settings) -> list[tuple[int, int]]:
    table = existing_table(settings, LLM)
    assert table is not None
    rows = table.to_pyarrow_dataset().to_table(columns=["kafka_partition", "kafka_offset"])
    return [(row["kafka_partition"], row["kafka_offset"]) for row in rows.to_pylist()]


def in_archive(settings: Settings) -> list[tuple[int, int]]:
    """What the files that count hold, read by the Avro library itself."""
    found = []
    for each in lines(settings, "cold"):
        if not each.removed_at:
            with (settings.archive_location / each.path).open("rb") as file:
                rows: Any = fastavro.reader(file)
                found += [(row["kafka_partition"], row["kafka_offset"]) for row in rows]
    return found


ALL = [(partition, offset) for partition in range(PARTITIONS) for offset in range(70)]


def test_old_days_move_to_the_archive_and_new_ones_stay(settings: Settings) -> None:
    filled(settings)
    planned = moved(settings, dry_run=True)
    assert count_parquet(settings, LLM) == len(ALL)
    assert not settings.archive_location.exists()
    done = moved(settings)

    assert done == planned
    assert [(step.event_date, step.rows, step.refused) for step in done] == [
        (OLDER, 20, None),
        (OLD, 80, None),
    ]
    assert sorted(in_lake(settings)) == [
        (partition, offset) for partition, offset in ALL if 20 <= offset < 40
    ]
    assert sorted(in_lake(settings) + in_archive(settings)) == ALL
    assert moved(settings) == []


def test_the_files_give_back_what_was_sent_in_order_of_partition_and_offset(
    settings: Settings,
) -> None:
    filled(settings)
    moved(settings)
    (old,) = [each for each in lines(settings, "cold") if each.event_date == OLD]
    path = settings.archive_location / old.path
    rows = list(archive.read(path))

    wanted = [
        row | {"attributes": dict(row["attributes"])}
        for partition in range(PARTITIONS)
        for row in rows_of(20, OLD, partition, 0) + rows_of(20, OLD, partition, 50)
    ]
    assert rows == [archive.completed(LlmEvent, row) for row in wanted]
    assert old.path == f"events_llm/event_date={OLD}/part-0001.avro"
    assert (old.rows, old.size) == (80, path.stat().st_size)
    assert old.sha256 == archive.checksum(path)
    assert old.expires_on == OLD + timedelta(days=101)
    assert old.offsets == tuple(
        (partition, span) for partition in range(2) for span in (Span(0, 20), Span(50, 70))
    )


def test_a_day_of_several_files_is_read_in_one_order(settings: Settings) -> None:
    filled(settings)
    moved(settings)
    write(settings, rows_of(3, OLD, 0, 70))
    moved(settings)

    assert archived_days(settings, LLM) == [OLDER, OLD]
    places = [(r["kafka_partition"], r["kafka_offset"]) for r in archived_rows(settings, LLM, OLD)]
    assert places == sorted(places)
    assert len(places) == 83
    assert list(archived_rows(settings, LLM, NEW)) == []


def test_events_are_exported_from_the_archive(settings: Settings) -> None:
    """Those that are wanted, as they were sent."""
    filled(settings)
    moved(settings)
    noon = datetime(OLD.year, OLD.month, OLD.day, 12, tzinfo=UTC)
    wanted = Selection(
        types=["llm.call"],
        since=noon + timedelta(microseconds=3),
        until=noon + timedelta(microseconds=5),
    )
    found = [
        LlmEvent.from_avro(row) for row in stored_events("archive", settings, LlmEvent, wanted)
    ]

    assert sorted(event.id for event in found) == ["0-3", "0-4", "1-3", "1-4"]
    assert {event.attributes["number"] for event in found} == {"3", "4"}
    assert {event.duration for event in found} == {
        timedelta(microseconds=3), timedelta(microseconds=4),
    }  # fmt: skip
    nobody = Selection(sessions=["nobody"])
    assert list(stored_events("archive", settings, LlmEvent, nobody)) == []


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


def test_late_rows_of_a_day_in_the_archive_get_a_further_file(settings: Settings) -> None:
    filled(settings)
    moved(settings)
    before = {each.path: each.sha256 for each in lines(settings, "cold")}
    write(settings, rows_of(3, OLD, 1, 70))
    moved(settings)

    after = {each.path: each.sha256 for each in lines(settings, "cold")}
    assert after.keys() - before.keys() == {f"events_llm/event_date={OLD}/part-0002.avro"}
    assert before.items() <= after.items()
    late = [(1, 70), (1, 71), (1, 72)]
    assert sorted(in_lake(settings) + in_archive(settings)) == sorted([*ALL, *late])


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


def test_a_day_stays_in_the_lake_when_its_file_is_damaged_or_missing(settings: Settings) -> None:
    filled(settings)
    moved(settings)
    write(settings, rows_of(3, OLD, 1, 70))
    (old,) = [each for each in lines(settings, "cold") if each.event_date == OLD]
    path = settings.archive_location / old.path
    whole = path.read_bytes()
    for damaged, word in (
        (whole[:-1], "bytes"),
        (whole[:-1] + bytes([whole[-1] ^ 1]), "checksum"),
        (None, "miss"),
    ):
        path.unlink()
        if damaged is not None:
            path.write_bytes(damaged)
        (step,) = moved(settings)
        if damaged is None:
            path.write_bytes(whole)

        assert word in (step.refused or "")
        assert str(path) in (step.refused or "")
        assert {(1, 70), (1, 71), (1, 72)} <= set(in_lake(settings))


def test_rows_that_come_while_a_day_is_moved_stay(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They come between the file and the lake's commit; the next run takes them."""
    filled(settings)
    add = Manifest.add

    def add_and_be_late(self: Manifest, entries: Sequence[Entry]) -> None:
        add(self, entries)
        if any(each.event_date == OLD for each in entries):
            write(settings, rows_of(3, OLD, 1, 70))

    with monkeypatch.context() as patched:
        patched.setattr(Manifest, "add", add_and_be_late)
        refused = [step.event_date for step in moved(settings) if step.refused]
    assert refused == [OLD]
    moved(settings)

    late = [(1, 70), (1, 71), (1, 72)]
    assert sorted(in_lake(settings) + in_archive(settings)) == sorted([*ALL, *late])


def test_a_file_of_nobody_is_not_written_over_when_it_holds_more(settings: Settings) -> None:
    """As when the lake was made anew: the archive may have the only copy."""
    filled(settings)
    moved(settings)
    other = settings.model_copy(update={"lake": str(settings.home / "other")})
    write(other, rows_of(3, OLD, 0, 0))
    before = {path: path.read_bytes() for path in settings.archive_location.rglob("*.avro")}
    (step,) = moved(other)

    assert "not in the manifest" in (step.refused or "")
    assert before == {p: p.read_bytes() for p in settings.archive_location.rglob("*.avro")}
    assert count_parquet(other, LLM) == 3


_RUN = """
import sys
from datetime import date
from pathlib import Path
from nilo_consumers.tiers.run import run
from nilo_schemas.settings import Settings
home = Path(sys.argv[1])
print("go", flush=True)
settings = Settings(home=home, lake=str(home / "lake"), warm_days=10, cold_days=100, hot_days=5)
for step in run(settings, ["events.llm"], date.fromisoformat(sys.argv[2]), dry_run=False):
    print(step, flush=True)
"""


def test_a_damaged_file_is_a_clear_error(settings: Settings) -> None:
    filled(settings)
    moved(settings)
    (old,) = [each for each in lines(settings, "cold") if each.event_date == OLD]
    path = settings.archive_location / old.path
    content = bytearray(path.read_bytes())
    content[-40:-20] = bytes(20)
    path.write_bytes(content)

    with pytest.raises(StoreRefusedError, match=r"part-0001\.avro is no whole Avro file"):
        list(archived_rows(settings, LLM, OLD))


def test_runs_that_are_killed_lose_nothing_and_double_nothing(settings: Settings) -> None:
    """At random moments, until one run comes to its end."""
    seed = random.randrange(10**6)
    moments, start = random.Random(seed), TODAY - timedelta(days=60)
    sent: list[tuple[int, int]] = []
    for number in range(12):
        rows = rows_of(400, start + timedelta(days=number), 0, 400 * number)
        write(settings, rows)
        sent += [(row["kafka_partition"], row["kafka_offset"]) for row in rows]
    kills, ended, went = 0, False, 0.05
    while not ended:
        arguments = [sys.executable, "-c", _RUN, str(settings.home), str(TODAY)]
        with subprocess.Popen(arguments, stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            assert child.stdout.readline() == b"go\n"
            try:
                ended = child.wait(moments.uniform(0, went)) == 0
            except subprocess.TimeoutExpired:
                child.send_signal(signal.SIGKILL)
                kills, went = kills + 1, went * 1.3
        found = set(in_lake(settings)) | set(in_archive(settings))
        assert found == set(sent), f"seed {seed}"
        assert len(in_archive(settings)) == len(set(in_archive(settings))), f"seed {seed}"

    assert kills
    assert in_lake(settings) == []
    assert sorted(in_archive(settings)) == sent
    counting = {settings.archive_location / each.path for each in lines(settings, "cold")}
    assert set(settings.archive_location.rglob("*.avro")) == counting
    assert len(counting) == 12


def test_a_second_run_at_the_same_time_is_refused(settings: Settings) -> None:
    filled(settings)
    first = run(settings, [LLM], TODAY, dry_run=False)
    next(first)

    with pytest.raises(StoreUnavailableError, match="another `nilo tiers run`"):
        moved(settings)
    assert [step.event_date for step in first] == [OLD]


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


def test_fewer_cold_days_than_warm_ones_are_refused() -> None:
    with pytest.raises(SettingsError, match="cold_days"):
        policies(Settings(cold_days_by_topic=f"{LLM}=179"))
    with pytest.raises(SettingsError, match=r"no topic 'events\.lm'"):
        policies(Settings(warm_days_by_topic="events.lm=7"))


def test_days_are_counted_from_today_in_each_tier() -> None:
    policy = policies(Settings(warm_days_by_topic=f"{LLM}=7"))[LLM]

    assert (policy.hot, policy.warm, policy.cold) == (30, 7, 730)
    assert policy.first("warm", TODAY) == date(2026, 6, 23)
    assert policy.expires_on("warm", date(2026, 6, 23)) == date(2026, 7, 1)
    assert policy.first("warm", date(2026, 7, 1)) > date(2026, 6, 23)
