"""What the stores hold: the offsets of their rows, and how far their sinks have come."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any

import numpy as np
import psycopg
import pyarrow as pa
from deltalake import DeltaTable
from psycopg import sql

from nilo_consumers.audit.ledger import Held
from nilo_consumers.batch import OFFSET, PARTITION, Span
from nilo_consumers.delta import DeltaSink
from nilo_consumers.lake import existing_table, translated
from nilo_consumers.postgres import CONNECT_LIMIT, OFFSETS, PostgresSink
from nilo_consumers.postgres import translated as from_postgres
from nilo_consumers.tables import table_name
from nilo_schemas.settings import Settings

NOTHING = Held(None, [])
# Each row whose successor is not the next offset ends a stretch; of two alike one ends it.
_STRETCHES = """
    SELECT kafka_partition, kafka_offset, following FROM (
        SELECT kafka_partition, kafka_offset, lead(kafka_offset) OVER places AS following,
               lag(kafka_offset) OVER places AS before
        FROM {table} WINDOW places AS (PARTITION BY kafka_partition ORDER BY kafka_offset)
    ) AS placed
    WHERE before IS NULL OR following IS NULL OR following <> kafka_offset + 1
    ORDER BY kafka_partition, kafka_offset"""


class InPostgres:
    """The tables of PostgreSQL, as one moment shows them."""

    name = PostgresSink.name

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def held(self, topic: str, partitions: Iterable[int]) -> dict[int, Held]:
        """What the store has of each partition of a topic (without prefix).

        Raises:
            StoreError: PostgreSQL does not answer or refuses.
        """
        with from_postgres("reading for the audit"), self._connect() as connection:
            # Rows and offsets of the same moment, while the sink goes on.
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            connection.read_only = True
            if not self._exists(connection, table_name(topic)):
                return dict.fromkeys(partitions, NOTHING)
            offsets = self._offsets(connection, topic)
            rows = self._stretches(connection, topic)
        return {p: Held(offsets.get(p), rows.get(p, [])) for p in partitions}

    def _connect(self) -> psycopg.Connection[Any]:
        return psycopg.connect(
            self._settings.database(), connect_timeout=CONNECT_LIMIT, application_name="nilo-audit"
        )

    def _table(self, name: str) -> sql.Identifier:
        return sql.Identifier(self._settings.database_schema, name)

    def _exists(self, connection: psycopg.Connection[Any], name: str) -> bool:
        asked = connection.execute(
            "SELECT to_regclass(%s) IS NOT NULL", [self._table(name).as_string(connection)]
        ).fetchone()
        return bool(asked and asked[0])

    def _offsets(self, connection: psycopg.Connection[Any], topic: str) -> dict[int, int]:
        query = sql.SQL("SELECT partition, next_offset FROM {} WHERE sink = %s AND topic = %s")
        rows = connection.execute(
            query.format(self._table(OFFSETS)), [self.name, self._settings.topic_prefix + topic]
        )
        return dict(rows.fetchall())

    def _stretches(self, connection: psycopg.Connection[Any], topic: str) -> dict[int, list[Span]]:
        query = sql.SQL(_STRETCHES).format(table=self._table(table_name(topic)))
        with connection.cursor("audit") as cursor:  # on the server: rows come some at a time
            cursor.itersize = 10_000
            return {
                partition: list(_spans((offset, following) for _, offset, following in places))
                for partition, places in groupby(cursor.execute(query), key=lambda row: row[0])
            }


def _spans(ends: Iterable[tuple[int, int | None]]) -> Iterator[Span]:
    """Stretches of the first offset and of those that are not followed by the next one."""
    start: int | None = None
    for offset, following in ends:
        start = offset if start is None else start
        if following != offset + 1:
            yield Span(start, offset + 1)
            start = following


class InLake:
    """The files of the Delta tables, as one version shows them."""

    name = DeltaSink.name

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.lost: list[str] = []
        """Files of the newest version that are not there, by their path in the lake."""

    def held(self, topic: str, partitions: Iterable[int]) -> dict[int, Held]:
        """As `InPostgres.held`."""
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
