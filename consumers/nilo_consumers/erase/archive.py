"""The archive: a file that holds the subject is written anew without it, and the old one goes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import date
from itertools import chain
from pathlib import Path

from nilo_consumers.audit.spans import Spans, of_offsets
from nilo_consumers.audit.spans import count as number_of
from nilo_consumers.batch import OFFSET, PARTITION, Span
from nilo_consumers.erase.receipt import Line
from nilo_consumers.erase.subject import is_theirs
from nilo_consumers.errors import StoreError, StoreRefusedError
from nilo_consumers.lake import EVENT_DATE, existing_table
from nilo_consumers.tables import table_name
from nilo_consumers.tiers import archive
from nilo_consumers.tiers.cold import Archive
from nilo_consumers.tiers.manifest import ERASED, Entry, Manifest, by_partition, now
from nilo_consumers.tiers.policy import policies
from nilo_consumers.tiers.warm import WarmDay, without
from nilo_schemas.contracts import stored_records
from nilo_schemas.settings import Settings

PLACE = "archive"


def count(settings: Settings, subject: str) -> Iterator[Line]:
    """The subject's rows in every file that is there, whether the manifest knows it or not.

    Raises:
        StoreError: the manifest cannot be read, or a file is damaged.
    """
    for topic in policies(settings):
        files = _files(settings, topic)
        held = {path: _rows(topic, path, subject) for path in files if path.suffix != ".tmp"}
        if files:
            yield Line(PLACE, topic, sum(held.values()), files=sum(map(bool, held.values())))
        if len(files) > len(held):
            told = "unfinished files may hold rows: run `nilo erase` again, or `nilo tiers run`"
            yield Line(PLACE, topic, None, files=len(files) - len(held), left=told)


def erase(settings: Settings, subject: str) -> Iterator[Line]:
    """Write every file that holds the subject anew without it.

    No other run may be at work. File by file:

    1. write the other rows to a file of the next number, put it on disk, and compare it
    2. in one commit of the manifest the new file counts, and the old one no more: its line keeps
       the erased offsets
    3. delete the old file

    What a killed run has left goes first: files without a line whose rows are all elsewhere, and
    files whose lines count no more. A file with a fault stays as it is and is told.

    Raises:
        StoreError: the manifest cannot be read.
        OSError: the disk is full or does not answer.
    """
    for topic in policies(settings):
        if _files(settings, topic):
            work = _Topic(settings, topic)
            yield from work.tidy()
            yield from work.erase(subject)


class _Topic:
    """The cold files of one topic."""

    def __init__(self, settings: Settings, topic: str) -> None:
        self._settings, self._topic = settings, topic
        self._cold = Archive(settings, topic, policies(settings)[topic])
        self._manifest = Manifest(settings)

    def tidy(self) -> Iterator[Line]:
        """Delete what runs that were killed have left."""
        lines = [each for each in self._manifest.entries(self._topic) if each.tier == "cold"]
        for line in lines:
            if line.removed_at:
                self._cold.path(line).unlink(missing_ok=True)
        known = {self._cold.path(line) for line in lines}
        for path in _files(self._settings, self._topic):
            if path.suffix == ".tmp":
                path.unlink()  # nobody writes it any more: no other run is at work
            elif path not in known:
                yield from self._delete_if_elsewhere(path)

    def _delete_if_elsewhere(self, path: Path) -> Iterator[Line]:
        day = date.fromisoformat(path.parent.name.removeprefix(f"{EVENT_DATE}="))
        try:
            if self._lacking(archive.spans(path), day):
                raise StoreRefusedError(
                    f"{path} is not in the manifest and holds rows that are nowhere else"
                )
        except StoreError as error:
            yield Line(PLACE, self._topic, None, files=1, left=str(error))
        else:
            path.unlink()

    def _lacking(self, spans: Mapping[int, Spans], day: date) -> dict[int, Spans]:
        """Those of these rows that neither the lake nor a file that counts has, nor erased are."""
        lines = self._manifest.entries(self._topic)
        counting = [each for each in lines if each.tier == "cold" and not each.removed_at]
        gone = [each for each in lines if each.reason == ERASED]
        left = without(spans, by_partition([*counting, *gone]))
        table = existing_table(self._settings, self._topic)
        if left and table is not None:
            left = without(left, WarmDay(table, self._topic, day).spans())
        return left

    def erase(self, subject: str) -> Iterator[Line]:
        rows = files = 0
        for entry in self._cold.entries():
            try:
                erased = self._without(entry, subject)
            except StoreError as error:
                yield Line(PLACE, self._topic, None, files=1, left=str(error))
            else:
                rows, files = rows + erased, files + (erased > 0)
        yield Line(PLACE, self._topic, rows, files)

    def _without(self, entry: Entry, subject: str) -> int:
        """Steps 1 to 3 for one file; how many rows it was rid of."""
        self._cold.check(entry)
        old = self._cold.path(entry)
        gone = _places(self._topic, old, subject)
        if not gone:
            return 0
        lines = [replace(_with_rows(entry, gone), removed_at=now(), reason=ERASED)]
        if kept := without(by_partition([entry]), gone):
            new = self._cold.next_path(_day(entry))
            self._write(old, new, subject, entry.rows - lines[0].rows)  # 1
            lines.append(self._new_entry(_with_rows(entry, kept), new))
        others = [each for each in self._manifest.entries(self._topic) if each != entry]
        self._manifest.replace(self._topic, others + lines)  # 2
        old.unlink()  # 3
        return lines[0].rows

    def _write(self, old: Path, new: Path, subject: str, rows: int) -> None:
        record = stored_records()[self._topic]

        def others() -> Iterator[archive.Values]:
            rows = archive.read(old)
            kept = (row for row in rows if not is_theirs(self._topic, row, subject))
            return (archive.completed(record, row) for row in kept)

        archive.write(new, record, others())
        if archive.check_equal(new, others()) != rows:
            raise StoreRefusedError(f"{new} does not hold the {rows} rows that are to stay")

    def _new_entry(self, old: Entry, new: Path) -> Entry:
        return replace(
            old,
            path=str(new.relative_to(self._settings.archive_location)),
            size=new.stat().st_size,
            sha256=archive.checksum(new),
            made_at=now(),
        )


def _with_rows(entry: Entry, spans: Mapping[int, Spans]) -> Entry:
    """The line for rows with these offsets."""
    offsets = tuple((number, span) for number, some in spans.items() for span in some)
    return replace(entry, offsets=offsets, rows=number_of(span for _, span in offsets))


def _places(topic: str, path: Path, subject: str) -> dict[int, list[Span]]:
    """The offsets of the subject's rows, by partition."""
    found: dict[int, list[int]] = {}
    for row in archive.read(path):
        if is_theirs(topic, row, subject):
            found.setdefault(row[PARTITION], []).append(row[OFFSET])
    return {number: of_offsets(offsets) for number, offsets in found.items()}


def _rows(topic: str, path: Path, subject: str) -> int:
    return sum(is_theirs(topic, row, subject) for row in archive.read(path))


def _files(settings: Settings, topic: str) -> list[Path]:
    """All files in a topic's folder, unfinished ones too."""
    folder = settings.archive_location / table_name(topic)
    found = (folder.glob(f"{EVENT_DATE}=*/{name}") for name in ("*.avro", ".*.avro.tmp"))
    return sorted(chain.from_iterable(found))


def _day(entry: Entry) -> date:
    if entry.event_date is None:
        raise StoreRefusedError(f"archive file {entry.path} has no day in the manifest")
    return entry.event_date
