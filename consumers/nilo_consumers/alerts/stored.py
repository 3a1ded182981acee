"""Read the transitions of alerts back from each store."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import psycopg
import pyarrow.compute as pc
from psycopg import sql
from psycopg.rows import dict_row

from nilo_consumers import postgres
from nilo_consumers.lake import dataset, existing_table, text_field, translated
from nilo_consumers.tables import table_name
from nilo_schemas.alerts import Alert
from nilo_schemas.arrow import arrow_schema
from nilo_schemas.settings import Settings


def alerts_postgres(settings: Settings, name: str) -> list[Alert]:
    """The transitions with this id or fingerprint, the newest last; none without a table.

    Raises:
        StoreUnavailableError: PostgreSQL does not answer.
    """
    names = arrow_schema(Alert).names
    query = sql.SQL("SELECT {} FROM {} WHERE fingerprint = %(name)s OR id = %(name)s").format(
        sql.SQL(", ").join(map(sql.Identifier, names)),
        sql.Identifier(settings.database_schema, table_name(Alert.kafka_topic)),
    )
    with (
        postgres.translated("reading alerts"),
        psycopg.Connection[dict[str, Any]].connect(
            settings.database(), connect_timeout=postgres.CONNECT_LIMIT, row_factory=dict_row
        ) as connection,
    ):
        try:
            rows = connection.execute(query, {"name": name}).fetchall()
        except psycopg.errors.UndefinedTable:
            return []
    return _in_order(rows)


def alerts_parquet(settings: Settings, name: str) -> list[Alert]:
    """As `alerts_postgres`, from the Delta table."""
    table = existing_table(settings, Alert.kafka_topic)
    if table is None:
        return []
    asked: pc.Expression = (text_field("fingerprint") == name) | (text_field("id") == name)
    with translated("reading alerts"):
        found = dataset(table).to_table(columns=arrow_schema(Alert).names, filter=asked)
    return _in_order(found.to_pylist(maps_as_pydicts="lossy"))


STORES: Mapping[str, Callable[[Settings, str], list[Alert]]] = {
    "postgres": alerts_postgres,
    "parquet": alerts_parquet,
}


def _in_order(rows: list[dict[str, Any]]) -> list[Alert]:
    found = [Alert.from_avro(row) for row in rows]
    return sorted(found, key=lambda alert: (alert.time, alert.revision))
