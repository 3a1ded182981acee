"""What the lake holds: the offsets of the rows in its files, and the files that are gone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
from deltalake import DeltaTable

from nilo_consumers.audit.ledger import NOTHING, Held
from nilo_consumers.batch import OFFSET, PARTITION, Span
from nilo_consumers.delta import DeltaSink
from nilo_consumers.lake import existing_table, translated
from nilo_consumers.tables import table_name
from nilo_schemas.settings import Settings


class InLake:
    """The files of the Delta tables, as one version shows them."""

    name = DeltaSink.name

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.lost: list[str] = []
        """Files of the newest version that are not there, by their path in the lake."""

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
            for fragment in self._there(table, table_name(topic)):
                for partition, span in stretches(fragment.to_table(columns=[PARTITION, OFFSET])):
                    rows.setdefault(partition, []).append(span)
            app = f"{self.name}:{self._settings.topic_prefix}{topic}:"
            return {
                p: Held(table.transaction_version(f"{app}{p}"), rows.get(p, [])) for p in partitions
            }

    def _there(self, table: DeltaTable, name: str) -> Iterator[Any]:
        """The files of a table but those that are gone, which are noted."""
        gone = set(table.repair(dry_run=True)["files_removed"])
        self.lost += [f"{name}/{path}" for path in sorted(gone)]
        for fragment in table.to_pyarrow_dataset().get_fragments():
            if fragment.path not in gone:
                yield fragment


def stretches(rows: pa.Table) -> Iterator[tuple[int, Span]]:
    """The partitions and stretches of offsets of rows in any order; rows alike overlap."""
    partitions, offsets = rows[PARTITION].to_numpy(), rows[OFFSET].to_numpy()
    order = np.lexsort((offsets, partitions))
    partitions, offsets = partitions[order], offsets[order]
    broken = (np.diff(partitions) != 0) | (np.diff(offsets) != 1)
    for part in np.split(np.arange(len(offsets)), np.flatnonzero(broken) + 1):
        if len(part):
            first, last = part[0], part[-1]
            yield int(partitions[first]), Span(int(offsets[first]), int(offsets[last]) + 1)
