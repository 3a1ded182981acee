"""Makes the tables of topics, which follow from the contracts, and the columns of newer ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import psycopg
from psycopg import sql

from nilo_consumers.errors import StoreRefusedError
from nilo_consumers.postgres_migrations import MIGRATIONS, lock
from nilo_consumers.tables import add_column, create_table, stored_schema, table_name
from nilo_schemas.record import Record

_COLUMNS = """
    SELECT relname, relkind = 'p', attname
    FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid
    WHERE relnamespace = to_regnamespace(%s) AND relname = ANY(%s)
    AND attnum > 0 AND NOT attisdropped"""


def make_tables(
    connection: psycopg.Connection, schema: str, records: Sequence[type[Record]]
) -> None:
    """Make what is missing of the tables of these records, in one transaction.

    Nothing is written, and no right to create anything is needed, when nothing is missing.

    Args:
        connection: in autocommit.
        schema: where the tables are; it is there.
        records: families and results.

    Raises:
        StoreRefusedError: a table's name is too long, or a table has no partitions.
        psycopg.Error: the database does not answer or refuses.
    """
    if not list(_missing(connection, schema, records)):
        return
    with connection.transaction():
        lock(connection)
        for statement in _missing(connection, schema, records):
            connection.execute(statement)


def _missing(
    connection: psycopg.Connection, schema: str, records: Sequence[type[Record]]
) -> Iterator[sql.Composed]:
    found = _columns(connection, schema, [table_name(record.kafka_topic) for record in records])
    for record in records:
        columns = found.get(table_name(record.kafka_topic))
        if columns is None:
            yield from create_table(schema, record)
            continue
        for name in stored_schema(record).names:
            if name not in columns:
                yield from add_column(schema, record, name)


def _columns(
    connection: psycopg.Connection, schema: str, tables: Sequence[str]
) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    path = sql.Identifier(schema).as_string(connection)
    for table, partitioned, column in connection.execute(_COLUMNS, [path, list(tables)]):
        if not partitioned:
            raise StoreRefusedError(
                f"{schema}.{table} has no partitions: an earlier version of the sink made it after "
                f"this one had converted the others; stop the earlier ones, delete the row of "
                f"number 2 from {schema}.{MIGRATIONS} and start again"
            )
        found.setdefault(table, set()).add(column)
    return found
