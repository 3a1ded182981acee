"""What the lake and its archive hold: the offsets of their rows, and the files that are gone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from deltalake import DeltaTable

from nilo_consumers.audit.ledger import NOTHING, Held
from nilo_consumers.audit.spans import Spans, minus, repeated, stretches, union
from nilo_consumers.batch import OFFSET, PARTITION, Span
from nilo_consumers.delta import DeltaSink
from nilo_consumers.lake import dataset, existing_table, translated
from nilo_consumers.tables import table_name
from nilo_consumers.tiers import archive
from nilo_consumers.tiers.manifest import Entry, Manifest, by_partition, erased, expired
from nilo_consumers.tiers.warm_files import unchanged
from nilo_schemas.settings import Settings


class InLake:
    """The files of the Delta tables, as one version shows them, and those of the archive.

    Args:
        settings: where they are.
        checksums: read every file that the manifest knows, and compare its checksum.
    """

    name = DeltaSink.name

    def __init__(self, settings: Settings, *, checksums: bool = False) -> None:
        self._settings, self._checksums = settings, checksums
        self._manifest = Manifest(settings)
        self.lost: list[str] = []
        """Files that are to be there and are not, by their path in the lake or in the archive."""
        self.changed: list[str] = []
        """Files that are not as they were written."""

    def held(self, topic: str, partitions: Iterable[int]) -> dict[int, Held]:
        """What the store has of each partition of a topic (without prefix).

        Raises:
            StoreError: the lake does not answer, or is unreadable.
        """
        table = existing_table(self._settings, topic)
        if table is None:
            return dict.fromkeys(partitions, NOTHING)
        rows: dict[int, list[Span]] = {}
        with translated(f"reading {topic} for the audit"):
            there = dict(self._there(table, table_name(topic)))
            for fragment in there.values():
                for partition, span in stretches(fragment.to_table(columns=[PARTITION, OFFSET])):
                    rows.setdefault(partition, []).append(span)
            app = f"{self.name}:{self._settings.topic_prefix}{topic}:"
            ends = {p: table.transaction_version(f"{app}{p}") for p in partitions}
        # Behind the lake: a day that moves meanwhile is then in both, and not in neither.
        lines = self._manifest.entries(topic)
        cold = by_partition(each for each in lines if self._is_cold(each))
        if self._checksums:
            self.changed += [
                each.path
                for each in lines
                if each.path in there and not unchanged(there[each.path], each)
            ]
        return {p: Held(end, _once(rows.get(p, []), cold.get(p, []))) for p, end in ends.items()}

    def expired(self, topic: str) -> Mapping[int, Spans]:
        """The offsets of a topic whose days the archive has let go, by partition."""
        return expired(self._manifest.entries(topic), "cold")

    def erased(self, topic: str) -> Mapping[int, Spans]:
        """The offsets of a topic that `nilo erase` has taken out of both tiers, by partition."""
        return erased(self._manifest.entries(topic))

    def _there(self, table: DeltaTable, name: str) -> Iterator[tuple[str, Any]]:
        """The files of a table by their path in the lake, but those that are gone: noted."""
        gone = set(table.repair(dry_run=True)["files_removed"])
        self.lost += [f"{name}/{path}" for path in sorted(gone)]
        for fragment in dataset(table).get_fragments():
            if fragment.path not in gone:
                yield f"{name}/{fragment.path}", fragment

    def _is_cold(self, entry: Entry) -> bool:
        """Whether a line is that of a file of the archive; one with a fault is noted."""
        if entry.tier != "cold" or entry.removed_at:
            return False
        path = self._settings.archive_location / entry.path
        if not path.exists():
            self.lost.append(str(path))
            return False
        if archive.fault(path, entry.size, entry.sha256 if self._checksums else None):
            self.changed.append(str(path))
        return True


def _once(warm: list[Span], cold: list[Span]) -> list[Span]:
    """The rows of both tiers; a day on its way is in both, and counts in the archive."""
    if not cold:
        return warm
    there = union(cold)
    return minus(union(warm), there) + minus(repeated(warm), there) + cold
