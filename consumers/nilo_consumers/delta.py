"""The Parquet sink: a Delta Lake table per topic, with the offsets in the commit of the files."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Transaction, WriterProperties, write_deltalake
from deltalake.exceptions import DeltaError, DeltaProtocolError, SchemaMismatchError

from nilo_consumers.batch import Batch, Policy
from nilo_consumers.decoding import TopicPart, record_of
from nilo_consumers.errors import RowsRefusedError, StoreRefusedError, StoreUnavailableError
from nilo_consumers.postgres import check_not_behind, final_windows
from nilo_consumers.sink import Offsets
from nilo_consumers.tables import WINDOWS, stored_schema, table_name, time_column
from nilo_schemas.settings import Settings

EVENT_DATE = "event_date"
_WRITER = WriterProperties(compression="ZSTD")
_INVALID = "Invalid data found"  # deltalake has no error class of its own for it
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Raise deltalake's errors as ours, marked transient or not."""
    try:
        yield
    except (SchemaMismatchError, DeltaProtocolError) as error:
        raise StoreRefusedError(f"the lake refuses {doing}: {_line(error)}") from error
    except pa.ArrowInvalid as error:
        raise RowsRefusedError(f"the lake refuses rows {doing}: {_line(error)}") from error
    except (DeltaError, OSError) as error:
        if _INVALID in str(error):
            raise RowsRefusedError(f"the lake refuses rows {doing}: {_line(error)}") from error
        # Lost races between writers are among them: the next try sees what the winner wrote.
        raise StoreUnavailableError(f"the lake fails {doing}: {_line(error)}") from error


def _line(error: Exception) -> str:
    # deltalake shows the rows themselves behind the first sentences: they stay out of logs.
    text = _COLOUR.sub("", str(error)).split("Preview of invalid data")[0]
    return " ".join(text.replace("↳", "").split())


def table_location(settings: Settings, topic: str) -> str:
    """Folder or URL of a topic's Delta table; `topic` without prefix."""
    return f"{settings.lake_location.rstrip('/')}/{table_name(topic)}"


class DeltaSink:
    """One Delta table per topic under `settings.lake_location`; see `Sink` for the contract."""

    name = "parquet"
    policy = Policy(rows=100_000, seconds=5.0)
    look_back: timedelta | None = None

    def __init__(self, settings: Settings) -> None:
        self._settings, self._prefix = settings, settings.topic_prefix
        self._tables: dict[str, DeltaTable] = {}

    def connect(self, parts: Collection[TopicPart]) -> Offsets:
        """Open the tables, made where missing, and read the offsets of their commits."""
        offsets: dict[TopicPart, int] = {}
        for topic in sorted({topic for topic, _ in parts}):
            with translated(f"opening {topic}"):
                self._tables[topic] = self._open(topic)
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
            rows = self._rows(left)
            self._commit(table, left, rows)  # 3
            return int(rows.num_rows)

    def close(self) -> None:
        """Nothing is held open."""
        self._tables.clear()

    def _open(self, topic: str) -> DeltaTable:
        location = table_location(self._settings, topic.removeprefix(self._prefix))
        if not DeltaTable.is_deltatable(location):
            schema = stored_schema(record_of(topic, self._prefix))
            DeltaTable.create(
                location,
                schema.append(pa.field(EVENT_DATE, pa.date32(), False)),
                mode="ignore",
                partition_by=[EVENT_DATE],
            )
        return DeltaTable(location)

    def _app(self, topic: str, partition: int) -> str:
        return f"{self.name}:{topic}:{partition}"

    def _stored(self, topic: str, partitions: Iterable[int]) -> dict[int, int]:
        table = self._tables[topic]
        found = {p: table.transaction_version(self._app(topic, p)) for p in partitions}
        return {partition: offset for partition, offset in found.items() if offset is not None}

    def _rows(self, batch: Batch) -> pa.Table:
        topic = batch.topic.removeprefix(self._prefix)
        rows = final_windows(batch.rows) if topic == WINDOWS else batch.rows
        dates = rows.column(time_column(topic)).cast(pa.timestamp("us")).cast(pa.date32())
        return rows.append_column(pa.field(EVENT_DATE, pa.date32(), False), dates)

    def _commit(self, table: DeltaTable, batch: Batch, rows: pa.Table) -> None:
        offsets = [
            Transaction(self._app(batch.topic, partition), span.end)
            for partition, span in batch.spans.items()
        ]
        known = {field.name for field in table.schema().fields}
        write_deltalake(
            table,
            rows,
            mode="append",
            schema_mode=None if known.issuperset(rows.column_names) else "merge",
            writer_properties=_WRITER,
            commit_properties=CommitProperties(app_transactions=offsets),
        )
