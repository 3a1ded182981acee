"""The Parquet sink: a Delta Lake table per topic, with the offsets in the commit of the files."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import timedelta

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake

from nilo_consumers.batch import Batch, Policy
from nilo_consumers.decoding import TopicPart, record_of
from nilo_consumers.lake import made_table, translated, with_date, writer_properties
from nilo_consumers.postgres import check_not_behind, final_windows
from nilo_consumers.sink import Offsets
from nilo_consumers.tables import WINDOWS
from nilo_schemas.settings import Settings


class DeltaSink:
    """One Delta table per topic under `settings.lake_location`; see `Sink` for the contract."""

    name = "parquet"
    look_back: timedelta | None = None

    def __init__(self, settings: Settings) -> None:
        self._settings, self._prefix = settings, settings.topic_prefix
        self.policy = Policy(rows=settings.lake_rows, seconds=settings.lake_seconds)
        self._tables: dict[str, DeltaTable] = {}

    def connect(self, parts: Collection[TopicPart]) -> Offsets:
        """Open the tables, made where missing, and read the offsets of their commits."""
        offsets: dict[TopicPart, int] = {}
        for topic in sorted({topic for topic, _ in parts}):
            with translated(f"opening {topic}"):
                self._tables[topic] = made_table(self._settings, record_of(topic, self._prefix))
            numbers = [partition for name, partition in parts if name == topic]
            for partition, offset in self._stored(topic, numbers).items():
                offsets[topic, partition] = offset
        return offsets

    def write(self, batch: Batch) -> int:
        """Store a batch.

        1. read the newest commit's offsets
        2. leave out what is stored already
        3. write the files and commit them with the new offsets, onto what step 1 has read:
           another writer's commit of the same partition in between makes the commit fail
        """
        table = self._tables[batch.topic]
        with translated(f"writing {batch.topic}"):
            table.update_incremental()  # 1
            stored = self._stored(batch.topic, batch.spans)
            check_not_behind(batch, stored)
            left = batch.beyond(stored)  # 2
            if not left.spans:
                return 0
            offsets = [
                Transaction(self._app(batch.topic, partition), span.end)
                for partition, span in left.spans.items()
            ]
            return self._commit(table, left, offsets)  # 3

    def close(self) -> None:
        """Nothing is held open."""
        self._tables.clear()

    def _app(self, topic: str, partition: int) -> str:
        return f"{self.name}:{topic}:{partition}"

    def _stored(self, topic: str, partitions: Iterable[int]) -> dict[int, int]:
        table = self._tables[topic]
        found = {p: table.transaction_version(self._app(topic, p)) for p in partitions}
        return {partition: offset for partition, offset in found.items() if offset is not None}

    def _rows(self, batch: Batch) -> pa.Table:
        topic = batch.topic.removeprefix(self._prefix)
        return with_date(topic, final_windows(batch.rows) if topic == WINDOWS else batch.rows)

    def _commit(self, table: DeltaTable, batch: Batch, marks: list[Transaction]) -> int:
        """Add the rows with marks that no other commit of the same may have set since."""
        rows = self._rows(batch)
        known = {field.name for field in table.schema().fields}
        rows = _with_all(rows, table)
        write_deltalake(
            table,
            rows,
            mode="append",
            schema_mode=None if known.issuperset(rows.column_names) else "merge",
            writer_properties=writer_properties(
                batch.topic.removeprefix(self._prefix), rows.num_rows
            ),
            commit_properties=CommitProperties(app_transactions=marks),
        )
        return int(rows.num_rows)


def _with_all(rows: pa.Table, table: DeltaTable) -> pa.Table:
    """The rows with the columns that a newer contract has given the table, without values."""
    for field in pa.schema(table.schema().to_arrow()):
        if field.name not in rows.column_names and field.nullable:
            rows = rows.append_column(field, pa.nulls(rows.num_rows, field.type))
    return rows
