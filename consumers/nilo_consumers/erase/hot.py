"""PostgreSQL: rows deleted with a note of their offsets, then dead rows, statistics and views."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, LiteralString
from uuid import UUID

import psycopg
from psycopg import sql

from nilo_consumers.erase.receipt import Line
from nilo_consumers.erase.subject import postgres_condition
from nilo_consumers.errors import StoreRefusedError
from nilo_consumers.postgres import OFFSETS, PostgresSink, open_connection, translated
from nilo_consumers.postgres_migrations import lock_shared, migrate, migrations
from nilo_consumers.postgres_views import refresh_view, views
from nilo_consumers.tables import ERASED_OFFSETS, table_name
from nilo_schemas.contracts import stored_records
from nilo_schemas.settings import Settings

PLACE = PostgresSink.name
# One statement: the note is there when the rows are gone, and only then.
_ERASE: LiteralString = """
    WITH gone AS (
        DELETE FROM {table} WHERE {theirs}
        RETURNING tableoid, kafka_partition, kafka_offset
    ), noted AS (
        INSERT INTO {erased} (erasure, topic, stored_in, partition, rows, offsets)
        SELECT %s, %s, relname, kafka_partition, count(*),
               range_agg(int8range(kafka_offset, kafka_offset + 1))
        FROM gone JOIN pg_class ON pg_class.oid = gone.tableoid
        GROUP BY relname, kafka_partition
        RETURNING rows
    ) SELECT coalesce(sum(rows), 0)::bigint FROM noted"""
_REACHED: LiteralString = (
    "SELECT partition, next_offset FROM {offsets} WHERE sink = %s AND topic = %s"
)
_UNCLEAN: LiteralString = "SELECT DISTINCT topic, stored_in FROM {erased} WHERE cleaned_at IS NULL"
_CLEANED: LiteralString = "UPDATE {erased} SET cleaned_at = now() WHERE cleaned_at IS NULL"


def count(settings: Settings, subject: str) -> Iterator[Line]:
    """The subject's rows, table by table, all of them looked through.

    Raises:
        StoreError: PostgreSQL does not answer or refuses.
    """
    if _impossible(subject):
        return
    with translated("counting a subject's rows"), _Store(settings) as store:
        store.trust_no_index()
        for topic in store.topics():
            reached = store.reached(topic)
            yield Line(PLACE, topic, store.rows(topic, subject), reached=reached)
        if unclean := store.unclean():
            yield Line(PLACE, left=_unclean(len(unclean)))


def erase(settings: Settings, subject: str, erasure: UUID) -> Iterator[Line]:
    """Delete the subject's rows, each topic in a transaction of its own; then clean up.

    A sink may copy rows in meanwhile: those it commits later have offsets of `reached` or more.

    1. delete, and note the offsets
    2. vacuum what was touched: dead rows and statistics hold the values still
    3. refresh the views, and vacuum them
    4. note that this is done: a run that is killed before leaves it to the next

    Raises:
        StoreError: PostgreSQL does not answer or refuses.
    """
    if _impossible(subject):
        return
    with translated("erasing a subject's rows"), _Store(settings) as store:
        topics = store.migrated_topics()
        for topic in topics:
            yield store.erase(topic, subject, erasure)  # 1
        if topics:
            store.clean()  # 2 to 4


def _impossible(subject: str) -> bool:
    """Whether PostgreSQL cannot hold such a text, and therefore has no such row."""
    return "\0" in subject


def _unclean(number: int) -> str:
    return f"{number} tables hold dead rows of an unfinished erasure: run `nilo erase` again"


class _Store:
    """Our schema, by a connection in autocommit."""

    def __init__(self, settings: Settings) -> None:
        self._schema, self._prefix = settings.database_schema, settings.topic_prefix
        self._connection = open_connection(settings.database(), "nilo-erase")

    def __enter__(self) -> _Store:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def trust_no_index(self) -> None:
        """Have every row looked at from now on."""
        for way in ("enable_bitmapscan", "enable_indexscan", "enable_indexonlyscan"):
            self._connection.execute("SELECT set_config(%s, 'off', false)", [way])

    def topics(self) -> list[str]:
        """The topics (without prefix) that have a table."""
        return [topic for topic in stored_records() if self._exists(table_name(topic))]

    def migrated_topics(self) -> list[str]:
        """As `topics`, after the schema was brought to this version, if it is there."""
        if self._exists(OFFSETS):
            migrate(self._connection, self._schema, migrations())
        return self.topics()

    def reached(self, topic: str) -> dict[int, int]:
        query = self._statement(_REACHED, offsets=OFFSETS)
        return dict(self._connection.execute(query, [PLACE, self._prefix + topic]).fetchall())

    def rows(self, topic: str, subject: str) -> int:
        query = sql.SQL("SELECT count(*) FROM {} WHERE {}").format(
            self._name(table_name(topic)), sql.SQL(postgres_condition(topic))
        )
        return self._number(query, [subject])

    def erase(self, topic: str, subject: str, erasure: UUID) -> Line:
        theirs = sql.SQL(postgres_condition(topic))
        query = sql.SQL(_ERASE).format(
            table=self._name(table_name(topic)), theirs=theirs, erased=self._name(ERASED_OFFSETS)
        )
        with self._connection.transaction():
            # Nobody moves rows from one partition to another while they are looked for.
            lock_shared(self._connection)
            # Read first: what lies before these offsets is committed, so the deletion sees it.
            reached = self.reached(topic)
            rows = self._number(query, [subject, erasure, topic])
        return Line(PLACE, topic, rows, reached=reached)

    def unclean(self) -> list[tuple[str, str]]:
        """Topic and partition of the tables that hold dead rows of an erasure."""
        if not self._exists(ERASED_OFFSETS):
            return []
        found = self._connection.execute(
            self._statement(_UNCLEAN, erased=ERASED_OFFSETS)
        ).fetchall()
        return [(topic, name) for topic, name in found]

    def clean(self) -> None:
        unclean = self.unclean()
        if not unclean:
            return
        for name in [name for _, name in unclean if self._exists(name)]:
            self._vacuum(name)
        for topic in sorted({topic for topic, _ in unclean}):
            self._analyze_again(table_name(topic))
        for view in views():
            if self._exists(view.name):
                refresh_view(self._connection, self._schema, view)
                self._vacuum(view.name)
        self._connection.execute(self._statement(_CLEANED, erased=ERASED_OFFSETS))

    def _vacuum(self, name: str) -> None:
        """Free dead rows and gather statistics anew; a server that only warns has not done it."""
        told: list[str] = []

        def note(diagnostic: psycopg.errors.Diagnostic) -> None:
            if diagnostic.severity_nonlocalized == "WARNING":
                told.append(diagnostic.message_primary or "")

        self._connection.add_notice_handler(note)
        try:
            self._connection.execute(sql.SQL("VACUUM (ANALYZE) {}").format(self._name(name)))
        finally:
            self._connection.remove_notice_handler(note)
        if told:
            raise StoreRefusedError(f"PostgreSQL does not vacuum {name}: {told[0]}")

    def _analyze_again(self, table: str) -> None:
        """Of a table that somebody has analysed as a whole: nothing else renews that."""
        query = sql.SQL("SELECT count(*) FROM pg_stats WHERE schemaname = %s AND tablename = %s")
        if self._number(query, [self._schema, table]):
            self._connection.execute(sql.SQL("ANALYZE {}").format(self._name(table)))

    def _exists(self, name: str) -> bool:
        text = self._name(name).as_string(self._connection)
        return self._connection.execute("SELECT to_regclass(%s)", [text]).fetchone() != (None,)

    def _name(self, name: str) -> sql.Identifier:
        return sql.Identifier(self._schema, name)

    def _statement(self, text: LiteralString, **names: str) -> sql.Composed:
        return sql.SQL(text).format(**{key: self._name(name) for key, name in names.items()})

    def _number(self, query: sql.SQL | sql.Composed, values: list[Any]) -> int:
        found = self._connection.execute(query, values).fetchone()
        return int(found[0]) if found else 0
