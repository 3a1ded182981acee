"""Rows into one store, under offsets that its sink has passed: what it had refused or not read."""

from __future__ import annotations

import pyarrow as pa
from deltalake import Transaction
from psycopg import sql

from nilo_consumers.batch import OFFSET, PARTITION, Batch, Span
from nilo_consumers.delta import DeltaSink
from nilo_consumers.dlq.places import Place, in_lake, in_postgres, in_sqlite
from nilo_consumers.lake import translated as of_lake
from nilo_consumers.postgres import PostgresSink
from nilo_consumers.postgres_migrations import lock_shared
from nilo_consumers.sink import Sink
from nilo_consumers.sqlite import SqliteSink
from nilo_consumers.sqlite_file import transaction
from nilo_consumers.sqlite_file import translated as of_sqlite
from nilo_consumers.tables import table_name
from nilo_consumers.writer import write_around
from nilo_schemas.settings import Settings


def add(settings: Settings, store: str, topic: str, rows: pa.Table) -> dict[Place, str]:
    """Give rows to one store, as far as it has not got them.

    Args:
        store: one of STORES, whose sink has passed these rows.
        topic: its full name.
        rows: of its contract, with their origin; at least one.

    Returns:
        Those that the store refuses, and why.

    Raises:
        StoreError: the store does not answer, or refuses more than rows.
    """
    refused: dict[Place, str] = {}

    def note(batch: Batch, why: str) -> None:
        refused.update(dict.fromkeys(_places(batch), why))

    sink, batch = _sink(settings, store), Batch(topic, rows, _spans(rows))
    try:
        sink.connect([(topic, number) for number in batch.spans])
        write_around(sink, batch, note)
    finally:
        sink.close()
    return refused


def _sink(settings: Settings, store: str) -> Sink:
    if store == PostgresSink.name:
        # The maintenance is the work of the sink that stays.
        return _IntoPostgres(settings.model_copy(update={"maintenance_every": 0.0}))
    return _IntoLake(settings) if store == DeltaSink.name else _IntoSqlite(settings)


class _IntoPostgres(PostgresSink):
    def _store(self, batch: Batch, *, alone: bool = False) -> int:
        """Lock the offsets, so that runs come one after another; then copy what is missing."""
        connection = self._connected()
        table = sql.Identifier(self._schema, table_name(batch.topic.removeprefix(self._prefix)))
        with connection.transaction():
            if alone:
                lock_shared(connection)
            self._lock_offsets(batch)
            left = _without(batch, in_postgres(connection, table, _places(batch)))
            return self._copy(left) if left.rows.num_rows else 0


class _IntoSqlite(SqliteSink):
    def write(self, batch: Batch) -> int:
        """Become the file's only writer; then insert what is missing."""
        connection, table = self._connected(), table_name(batch.topic.removeprefix(self._prefix))
        with of_sqlite(self._path, f"writing {batch.topic}"), transaction(connection):
            return self._insert(_without(batch, in_sqlite(connection, table, _places(batch))))


class _IntoLake(DeltaSink):
    def write(self, batch: Batch) -> int:
        """Read the newest version; then commit what is missing, if no other run has meanwhile."""
        table, app = self._tables[batch.topic], f"{self.name}:{batch.topic}:added"
        with of_lake(f"writing {batch.topic}"):
            table.update_incremental()
            left = _without(batch, in_lake(table, _places(batch)))
            if not left.rows.num_rows:
                return 0
            number = (table.transaction_version(app) or 0) + 1
            return self._commit(table, left, [Transaction(app, number)])


def _places(batch: Batch) -> list[Place]:
    columns = (batch.rows[name].to_pylist() for name in (PARTITION, OFFSET))
    return list(zip(*columns, strict=True))


def _spans(rows: pa.Table) -> dict[int, Span]:
    """Of each partition the stretch from its first row to its last."""
    found: dict[int, Span] = {}
    for number, offset in zip(
        *(rows[name].to_pylist() for name in (PARTITION, OFFSET)), strict=True
    ):
        known = found.get(number, Span(offset, offset + 1))
        found[number] = Span(min(known.start, offset), max(known.end, offset + 1))
    return found


def _without(batch: Batch, there: set[Place]) -> Batch:
    missing = pa.array([place not in there for place in _places(batch)], pa.bool_())
    return Batch(batch.topic, batch.rows.filter(missing), batch.spans)
