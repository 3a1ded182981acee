"""The ledger of all topics and stores, and the certificate that is made of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from nilo_consumers.audit.filtered import PROVISIONAL, REPEATED, Filtered, filtered
from nilo_consumers.audit.in_kafka import DeadOffsets, InKafka
from nilo_consumers.audit.in_lake import InLake
from nilo_consumers.audit.in_tables import InPostgres, InSqlite
from nilo_consumers.audit.ledger import Entry, entry
from nilo_consumers.audit.spans import Spans, minus, of_offsets, union
from nilo_consumers.batch import Span
from nilo_consumers.dlq.redriven import Redriven, redriven
from nilo_consumers.tables import WINDOWS
from nilo_consumers.tiers.manifest import ERASED, EXPIRED
from nilo_consumers.tiers.windows.record import Record
from nilo_schemas.contracts import stored_records
from nilo_schemas.errors import Reason
from nilo_schemas.settings import Settings

PROCESSORS, REDRIVEN = "processors", "redriven"
Store = InPostgres | InLake | InSqlite
_STORES: Mapping[str, type[Store]] = {each.name: each for each in (InPostgres, InLake, InSqlite)}
STORES = tuple(_STORES)


@dataclass(frozen=True)
class Range:
    """When the messages came to Kafka that are looked at: [since, until); None: no limit."""

    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True)
class Ledger:
    """All lines, and what concerns no line.

    That are files of the lake and the archive that are gone or changed, and the events that came
    too late to count.
    """

    range: Range
    entries: Sequence[Entry]
    lost_files: Sequence[str]
    changed_files: Sequence[str]
    late: Mapping[str, int]

    @property
    def clean(self) -> bool:
        """Whether every message has its place in every store."""
        files = self.lost_files or self.changed_files
        return not files and all(line.clean for line in self.entries)

    def certificate(self) -> dict[str, Any]:
        """The ledger as JSON types, with its SHA-256 digest: what was compared, and whether clean.

        The digest is that of the other members as JSON with sorted keys and no spaces, so that a
        certificate that was changed is found out.
        """
        body = {
            "clean": self.clean,
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "from": self.range.since and self.range.since.isoformat(),
            "to": self.range.until and self.range.until.isoformat(),
            "rows": sum(line.rows for line in self.entries),
            "late": dict(self.late),
            "lost_files": list(self.lost_files),
            "changed_files": list(self.changed_files),
            "entries": [line.as_json() for line in self.entries],
        }
        return body | {"digest": digest(body)}


def digest(certificate: Mapping[str, Any]) -> str:
    """The SHA-256 of a certificate's other members."""
    body = {name: value for name, value in certificate.items() if name != "digest"}
    text = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def reconcile(
    settings: Settings,
    topics: Sequence[str] | None = None,
    *,
    stores: Sequence[str] | None = None,
    within: Range | None = None,
    checksums: bool = False,
) -> Ledger:
    """Compare what Kafka has with what the stores hold, partition by partition.

    Sinks may go on meanwhile: each store is looked at as of one moment, up to where its own
    offsets say that it has come.

    Args:
        topics: without prefix (default: every family, the windows and the alerts).
        stores: some of STORES (default: all, but SQLite only where there is a file).
        within: only messages that came to Kafka in this time.
        checksums: read all files of the lake and the archive that the manifest knows, and compare.

    Raises:
        UnreachableError: the brokers or the registry do not answer.
        StoreError: a store does not answer or refuses.
    """
    within = within or Range()
    lake = InLake(settings, checksums=checksums)
    names = stores or [name for name in STORES if _may_be_there(settings, name)]
    asked = [lake if name == lake.name else _STORES[name](settings) for name in names]
    entries: list[Entry] = []
    late: dict[str, int] = {}
    again = redriven(settings)
    with closing(InKafka(settings)) as kafka:
        for topic in topics or list(stored_records()):
            audit = _Topic(settings, kafka, topic, within, again)
            entries += [line for store in asked for line in audit.lines(store)]
            late |= audit.late()
    return Ledger(within, entries, lake.lost, lake.changed, late)


def _may_be_there(settings: Settings, store: str) -> bool:
    return store != InSqlite.name or settings.sqlite_location.exists()


class _Topic:
    """One topic: what Kafka has of it, against one store after the other."""

    def __init__(
        self, settings: Settings, kafka: InKafka, topic: str, within: Range, again: Redriven
    ) -> None:
        self._settings, self._kafka, self._topic, self._within = settings, kafka, topic, within
        self._again, self._name = again, settings.topic_prefix + topic
        self._partitions = list(kafka.bounds(topic))
        self._dead: DeadOffsets = {}

    def lines(self, store: Store) -> Iterator[Entry]:
        # In this order: a sink that goes on is ahead of what was read, never behind it.
        held = store.held(self._topic, self._partitions)
        asked = self._asked()
        self._dead = self._kafka.dead_letters(self._topic)
        windows = self._windows(asked, store.name)
        let_go = {EXPIRED: store.expired(self._topic), ERASED: store.erased(self._topic)}
        for number, span in asked.items():
            rows, absent = union(held[number].rows), _absent(self._dead, store.name, number)
            if number in windows:
                absent |= _no_rows(windows[number], store.name, rows)
            if again := self._again.get((self._name, number)):
                buried = union(span for spans in absent.values() for span in spans)
                absent[REDRIVEN] = minus(minus(of_offsets(again), rows), buried)
            for reason, gone in let_go.items():
                if number in gone:
                    # What comes again after it went is a row like any other.
                    absent[reason] = minus(gone[number], rows)
            yield entry(
                (self._topic, number, store.name), span, held[number], absent,
                whole=self._within == Range(),
            )  # fmt: skip

    def late(self) -> dict[str, int]:
        """How many events came too late for their windows; they are in the stores all the same."""
        found = self._dead.get((PROCESSORS, Reason.LATE), {})
        return {self._topic: sum(map(len, found.values()))} if found else {}

    def _asked(self) -> dict[int, Span]:
        bounds = self._kafka.bounds(self._topic)
        starts = {number: span.start for number, span in bounds.items()}
        ends = {number: span.end for number, span in bounds.items()}
        if self._within.since:
            starts |= self._kafka.at(self._topic, self._within.since, bounds)
        if self._within.until:
            ends |= self._kafka.at(self._topic, self._within.until, bounds)
        return {n: Span(starts[n], max(starts[n], ends[n])) for n in bounds}

    def _windows(self, asked: Mapping[int, Span], store: str) -> dict[int, Filtered]:
        if self._topic != WINDOWS:
            return {}
        ends = {number: span.end for number, span in asked.items()}
        return filtered(self._settings, self._kafka, ends, Record(self._settings).removed(store))


def _absent(dead: DeadOffsets, store: str, number: int) -> dict[str, Spans]:
    """By reason, the offsets that this store's sink has made dead letters of."""
    return {
        reason: of_offsets(by_partition[number])
        for (connector, reason), by_partition in dead.items()
        if connector == store and number in by_partition
    }


def _no_rows(windows: Filtered, store: str, rows: Spans) -> dict[str, Spans]:
    found: dict[str, Spans] = {PROVISIONAL: windows.provisional}
    if store != InLake.name:
        # What comes again when the first is gone is a row.
        found[REPEATED] = minus(windows.repeated, rows)
    if windows.expired:
        found[EXPIRED] = minus(minus(windows.expired, rows), found.get(REPEATED, ()))
    return found
