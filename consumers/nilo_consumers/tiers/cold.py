"""From warm to cold, and out of cold: a day leaves the lake only when the archive has all of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path

from nilo_consumers.audit.spans import Spans, count
from nilo_consumers.errors import StoreRefusedError
from nilo_consumers.tables import table_name
from nilo_consumers.tiers import archive
from nilo_consumers.tiers.manifest import EXPIRED, Entry, Manifest, by_partition, now
from nilo_consumers.tiers.policy import Policy
from nilo_consumers.tiers.warm import WarmDay, without
from nilo_schemas.contracts import stored_records
from nilo_schemas.settings import Settings


class Archive:
    """The cold files of one topic (without prefix)."""

    def __init__(self, settings: Settings, topic: str, policy: Policy) -> None:
        self._folder, self._topic, self._policy = settings.archive_location, topic, policy
        self._manifest, self._record = Manifest(settings), stored_records()[topic]

    def entries(self, day: date | None = None) -> list[Entry]:
        """The files that count, of one day or of all; raises StoreError."""
        return [
            each
            for each in self._manifest.entries(self._topic)
            if each.tier == "cold" and not each.removed_at and day in (None, each.event_date)
        ]

    def path(self, entry: Entry) -> Path:
        """Where a file lies."""
        return self._folder / entry.path

    def check(self, entry: Entry) -> None:
        """See that a file is as the manifest says; raises StoreRefusedError when it is not."""
        if fault := archive.fault(self.path(entry), entry.size, entry.sha256):
            raise StoreRefusedError(f"archive file {self.path(entry)} {fault}")

    def take(self, warm: WarmDay) -> int:
        """Move a day out of the lake into a further file; how many rows were written.

        1. see which rows the day's files lack, and that these files are whole
        2. write the rows to a file of the next number, and compare it with the lake
        3. have it in the manifest: from now on it counts
        4. take the day out of the lake

        Killed in between, the next run does what is left to do.

        Raises:
            StoreRefusedError: the archive is damaged, or the lake holds rows twice.
            StoreUnavailableError: the lake does not answer, the archive's disk is full, or rows of
                the day came meanwhile: the next run takes them.
        """
        there = self.entries(warm.day)  # 1
        for entry in there:
            self.check(entry)
        wanted = without(warm.spans(), by_partition(there))
        if wanted:
            path = self.next_path(warm.day)
            self._keep(path, warm, wanted)  # 2
            self._manifest.add([self._entry(path, warm.day, wanted)])  # 3
        warm.leave()  # 4
        return sum(map(count, wanted.values()))

    def lacking(self, warm: WarmDay) -> int:
        """How many rows of a day in the lake no file has yet; raises StoreError."""
        wanted = without(warm.spans(), by_partition(self.entries(warm.day)))
        return sum(map(count, wanted.values()))

    def over(self, today: date) -> list[Entry]:
        """The files whose days are over; raises StoreError."""
        first = self._policy.first("cold", today)
        return [each for each in self.entries() if each.event_date and each.event_date < first]

    def expire(self, today: date) -> list[Entry]:
        """Delete the files whose days are over; the manifest keeps a line of each.

        Raises:
            StoreError: the lake does not answer.
            OSError: a file cannot be deleted.
        """
        over = self.over(today)
        if over:
            lines = self._manifest.entries(self._topic)
            gone = [replace(each, removed_at=now(), reason=EXPIRED) for each in over]
            self._manifest.replace(self._topic, [each for each in lines if each not in over] + gone)
        # Also what a killed run has noted as expired and left.
        for each in self._manifest.entries(self._topic):
            if each.tier == "cold" and each.removed_at:
                self.path(each).unlink(missing_ok=True)
        return over

    def next_path(self, day: date) -> Path:
        """The name of a day's next file; raises StoreError."""
        folder = self._folder / table_name(self._topic) / f"event_date={day}"
        known = {
            each.path for each in self._manifest.entries(self._topic) if each.event_date == day
        }
        number = 1
        while str((folder / _name(number)).relative_to(self._folder)) in known:
            number += 1
        return folder / _name(number)

    def _keep(self, path: Path, warm: WarmDay, wanted: dict[int, Spans]) -> None:
        if path.exists():
            self._check_replaceable(path, wanted)
        archive.write(path, self._record, self._rows(warm, wanted))
        number = archive.check_equal(path, self._rows(warm, wanted))
        if number != sum(map(count, wanted.values())):
            raise StoreRefusedError(f"{path} holds {number} rows, not all of the lake's day")

    def _check_replaceable(self, path: Path, wanted: dict[int, Spans]) -> None:
        """A killed run has left a file that does not count; the lake must have its rows."""
        if without(archive.spans(path), wanted):
            raise StoreRefusedError(
                f"{path} is not in the manifest and holds rows that the lake does not have: "
                "see whether the lake is the right one, or move the file away"
            )

    def _rows(self, warm: WarmDay, wanted: dict[int, Spans]) -> Iterator[archive.Values]:
        return (archive.completed(self._record, row) for row in warm.rows(wanted))

    def _entry(self, path: Path, day: date, wanted: dict[int, Spans]) -> Entry:
        return Entry(
            path=str(path.relative_to(self._folder)),
            tier="cold",
            topic=self._topic,
            event_date=day,
            rows=sum(map(count, wanted.values())),
            size=path.stat().st_size,
            offsets=tuple((number, span) for number, spans in wanted.items() for span in spans),
            sha256=archive.checksum(path),
            made_at=now(),
            expires_on=self._policy.expires_on("cold", day),
        )


def _name(number: int) -> str:
    return f"part-{number:04}.avro"
