"""The lake: only the files that hold the subject are written anew; the old ones go at once."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from uuid import UUID

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable, QueryBuilder

from nilo_consumers.audit.spans import Spans, stretches
from nilo_consumers.audit.spans import count as number_of
from nilo_consumers.backoff import Backoff
from nilo_consumers.batch import OFFSET, PARTITION, Span
from nilo_consumers.delta import DeltaSink
from nilo_consumers.erase import lake_log
from nilo_consumers.erase.lake_files import Beside, held_beside, unfinished
from nilo_consumers.erase.receipt import Line
from nilo_consumers.erase.subject import PLACES, SUBJECT, column, in_columns, places_of
from nilo_consumers.errors import StoreUnavailableError
from nilo_consumers.lake import (
    EVENT_DATE,
    dataset,
    existing_table,
    literal,
    table_location,
    translated,
    writer_properties,
)
from nilo_consumers.tiers.manifest import ERASED, Entry, Manifest, erased, now
from nilo_consumers.tiers.warm import days, without
from nilo_schemas.contracts import stored_records
from nilo_schemas.settings import Settings

PLACE = DeltaSink.name
# Commits that were lost to a sink or a compaction; each next one sees what the winner wrote.
_TRIES = 20
_LOGS = "statistics of an earlier version, which name the subject: run `nilo erase`"
_TORN = "unfinished files of killed writers may hold rows: run `nilo erase`"
_BESIDE = "in no version that is needed; `nilo erase` takes it away, if no sink is to commit it yet"
_IN_FLIGHT = "not committed yet: run again when its sink has gone on"


def count(settings: Settings, subject: str) -> Iterator[Line]:
    """The subject's rows, table by table: every file is read, also those no version needs.

    Raises:
        StoreError: the lake does not answer, or lacks a file.
    """
    for topic in stored_records():
        if lake := _Lake.of(settings, topic, subject):
            yield lake.counted()
            for each in lake.beside():
                yield Line(PLACE, topic, each.rows, files=1, note=f"{each.path}: {_BESIDE}")
            if torn := lake.unfinished():
                yield Line(PLACE, topic, None, files=len(torn), left=_TORN)
            if logs := lake.logs():
                yield Line(PLACE, topic, files=len(logs), left=f"{', '.join(logs)}: {_LOGS}")


def erase(settings: Settings, subject: str, erasure: UUID) -> Iterator[Line]:
    """Take the subject's rows out of every table, and out of the folder.

    Day by day:

    1. find them; files whose statistics or Bloom filters exclude the subject are not read
    2. have their offsets in the manifest: rows that are missing have a reason then
    3. write the files that hold them anew; the commit names offsets, never the subject

    4. Then the files that the table needs no more go, without the week that readers have else,
       when any holds the subject: also those that compaction and the archive have left, and those
       that writers have left which were killed or lost a race. The log of an earlier version is
       rid of the values of subjects that it has in its statistics.

    A run that is killed leaves to the next what is undone. Sinks may write meanwhile.

    Raises:
        StoreError: the lake does not answer, or lacks a file.
    """
    for topic in stored_records():
        if lake := _Lake.of(settings, topic, subject):
            yield lake.erase(erasure)
            yield from lake.clean()


class _Lake:
    """One topic's table, for one subject."""

    def __init__(self, settings: Settings, topic: str, subject: str, table: DeltaTable) -> None:
        self._settings, self._topic, self._subject = settings, topic, subject
        self._table = table

    @classmethod
    def of(cls, settings: Settings, topic: str, subject: str) -> _Lake | None:
        """None where the topic has no table; raises StoreError."""
        table = existing_table(settings, topic)
        return None if table is None else cls(settings, topic, subject, table)

    def counted(self) -> Line:
        """All rows of the newest version are looked at."""
        rows, theirs = 0, in_columns(self._topic, self._subject)
        with translated(f"reading {self._topic}"):
            for batch in dataset(self._table).to_batches(columns=[column(self._topic)]):
                rows += int(theirs(batch).sum())
        return Line(PLACE, self._topic, rows, reached=self._reached())

    def beside(self) -> list[Beside]:
        """The files in the folder that hold the subject and belong to no newest version."""
        with translated(f"reading the folder of {self._topic}"):
            return held_beside(self._table, self._topic, self._subject)

    def erase(self, erasure: UUID) -> Line:
        reached, rows, files = self._reached(), 0, 0
        for day in days(self._table):
            with translated(f"looking for rows of {self._topic} of {day}"):
                places = self._places(day)  # 1
            if places.num_rows:
                self._note(day, places, erasure)  # 2
                gone, replaced = self._retried(day, places)  # 3
                rows, files = rows + gone, files + replaced
        return Line(PLACE, self._topic, rows, files, reached)

    def clean(self) -> Iterator[Line]:
        """Step 4; what a sink is about to commit stays, and is told."""
        held = self.beside()
        if any(each.replaced for each in held):
            with translated(f"vacuuming {self._topic}"):
                self._table.vacuum(0, dry_run=False, enforce_retention_duration=False)
        uncommitted = [each for each in held if not each.replaced]
        over = self._over() if uncommitted else {}
        for each in uncommitted:
            if without(each.places, over):
                yield Line(PLACE, self._topic, files=1, note=f"{each.path}: {_IN_FLIGHT}")
                continue
            with translated(f"deleting {each.path}"):
                each.delete(self._table)

        with translated(f"rewriting the log of {self._topic}"):
            location = table_location(self._settings, self._topic)
            lake_log.rewrite(self._table, location, self._subject)
        for path in self.unfinished():
            with translated(f"deleting {path}"):
                path.unlink(missing_ok=True)

    def logs(self) -> list[str]:
        """The files of the log that name the subject, as those of an earlier version do."""
        with translated(f"reading the log of {self._topic}"):
            return lake_log.naming(self._table, self._subject)

    def unfinished(self) -> list[Path]:
        """Files that killed writers have left unfinished: whose rows they hold is not known."""
        location = table_location(self._settings, self._topic)
        with translated(f"reading the folder of {self._topic}"):
            return unfinished(location)

    def _over(self) -> dict[int, Spans]:
        """The offsets of which no row of the subject can be committed any more.

        A sink cannot commit what lies before the table's own offsets. Who rewrites files, such as
        compaction, cannot commit rows whose files were removed since: and rows that the table does
        not have are such.
        """
        passed = {number: [Span(0, at)] for number, at in self._reached().items()}
        there: dict[int, list[Span]] = {}
        for day in days(self._table):
            with translated(f"looking for rows of {self._topic} of {day}"):
                for number, span in stretches(self._places(day)):
                    there.setdefault(number, []).append(span)
        return without(passed, there)

    def _reached(self) -> dict[int, int]:
        app = f"{PLACE}:{self._settings.topic_prefix}{self._topic}:"
        with translated(f"reading the offsets of {self._topic}"):
            found = {
                number: self._table.transaction_version(f"{app}{number}")
                for number in range(self._settings.partitions)
            }
        return {number: at for number, at in found.items() if at is not None}

    def _places(self, day: date) -> pa.Table:
        """Partition and offset of the subject's rows of a day."""
        if column(self._topic) != SUBJECT:
            return self._places_by_maps(day)
        query = (
            f"SELECT {PARTITION}, {OFFSET} FROM kept "  # noqa: S608  the names are ours, the subject is a literal
            f"WHERE {EVENT_DATE} = '{day}' AND {SUBJECT} = {literal(self._subject)}"
        )
        reader = QueryBuilder().register("kept", self._table).execute(query)
        return pa.table(reader.read_all()).cast(PLACES)

    def _places_by_maps(self, day: date) -> pa.Table:
        batches = dataset(self._table).to_batches(
            columns=[*PLACES.names, column(self._topic)], filter=pc.field(EVENT_DATE) == day
        )
        return places_of(self._topic, self._subject, batches)

    def _note(self, day: date, places: pa.Table, erasure: UUID) -> None:
        manifest, found = Manifest(self._settings), dict[int, list[Span]]()
        for number, span in stretches(places):
            found.setdefault(number, []).append(span)
        # What a run that was killed has noted already need not be there twice.
        new = without(found, erased(manifest.entries(self._topic)))
        offsets = tuple((number, span) for number, spans in new.items() for span in spans)
        if not offsets:
            return
        at = now()
        manifest.add([Entry(
            path=f"erased/{erasure}", tier="warm", topic=self._topic, event_date=day,
            rows=number_of(span for _, span in offsets), size=0, offsets=offsets, sha256=None,
            made_at=at, removed_at=at, reason=ERASED,
        )])  # fmt: skip

    def _retried(self, day: date, places: pa.Table) -> tuple[int, int]:
        backoff = Backoff()
        for _ in range(_TRIES - 1):
            try:
                return self._take_out(day, places)
            except StoreUnavailableError:
                time.sleep(backoff.next())
                with translated(f"reading {self._topic}"):
                    self._table.update_incremental()
        return self._take_out(day, places)

    def _take_out(self, day: date, places: pa.Table) -> tuple[int, int]:
        """Rows that are gone, and files that were written anew or emptied."""
        # Not by DELETE: the log would keep its condition, and a long list of offsets ends the
        # process (deltalake 1.6 overflows its stack). Bounds spare it the other files.
        first, last = pc.min_max(places[OFFSET]).as_py().values()
        where = (
            f"kept.{EVENT_DATE} = '{day}' AND kept.{OFFSET} >= {first} AND kept.{OFFSET} <= {last}"
            f" AND kept.{PARTITION} = gone.{PARTITION} AND kept.{OFFSET} = gone.{OFFSET}"
        )
        with translated(f"taking rows out of {self._topic} of {day}"):
            merging = self._table.merge(
                _distinct(places), where, source_alias="gone", target_alias="kept",
                writer_properties=writer_properties(self._topic),
            )  # fmt: skip
            done = merging.when_matched_delete().execute()
        return int(done["num_target_rows_deleted"]), int(done["num_target_files_removed"])


def _distinct(places: pa.Table) -> pa.Table:
    return places.group_by(PLACES.names).aggregate([]).select(PLACES.names)
