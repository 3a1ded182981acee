"""How stores stand to messages: with a row, past them without one, or not yet there."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from enum import Enum

import psycopg
from psycopg import sql

from nilo_consumers.delta import DeltaSink
from nilo_consumers.dlq.places import Place, in_lake, in_postgres, in_sqlite
from nilo_consumers.lake import existing_table
from nilo_consumers.lake import translated as of_lake
from nilo_consumers.postgres import CONNECT_LIMIT, OFFSETS, PostgresSink
from nilo_consumers.postgres import translated as of_postgres
from nilo_consumers.sqlite import SqliteSink
from nilo_consumers.sqlite_file import reading, tables
from nilo_consumers.tables import table_name
from nilo_schemas.settings import Settings

STORES = (PostgresSink.name, DeltaSink.name, SqliteSink.name)


class Standing(Enum):
    """How a store stands to a message."""

    HAS = "it has a row"
    PASSED = "its sink has passed it without a row"
    BEHIND = "its sink has yet to come to it"


Standings = Mapping[Place, Standing]


def standings(settings: Settings, topic: str, places: Collection[Place]) -> dict[str, Standings]:
    """By store, how it stands to messages of a topic (without prefix), by partition and offset.

    A store without a table of the topic says nothing.

    Raises:
        StoreError: a store does not answer or refuses.
    """
    return {
        PostgresSink.name: _in_postgres(settings, topic, places),
        DeltaSink.name: _in_lake(settings, topic, places),
        SqliteSink.name: _in_sqlite(settings, topic, places),
    }


def _in_postgres(settings: Settings, topic: str, places: Collection[Place]) -> Standings:
    if settings.database_url is None:
        return {}
    schema, name = settings.database_schema, settings.topic_prefix + topic
    offsets, table = sql.Identifier(schema, OFFSETS), sql.Identifier(schema, table_name(topic))
    query = sql.SQL("SELECT partition, next_offset FROM {} WHERE sink = %s AND topic = %s")
    with (
        of_postgres("looking for rows"),
        psycopg.connect(
            settings.database(), connect_timeout=CONNECT_LIMIT, application_name="nilo-dlq"
        ) as connection,
    ):
        text = table.as_string(connection)
        if connection.execute("SELECT to_regclass(%s)", [text]).fetchone() == (None,):
            return {}
        reached = connection.execute(query.format(offsets), [PostgresSink.name, name]).fetchall()
        return _standings(dict(reached), in_postgres(connection, table, places), places)


def _in_sqlite(settings: Settings, topic: str, places: Collection[Place]) -> Standings:
    query = "SELECT partition, next_offset FROM sink_offsets WHERE sink = ? AND topic = ?"
    with reading(settings.sqlite_location) as connection:
        if connection is None or table_name(topic) not in tables(connection):
            return {}
        asked = [SqliteSink.name, settings.topic_prefix + topic]
        reached = dict(map(tuple, connection.execute(query, asked)))
        return _standings(reached, in_sqlite(connection, table_name(topic), places), places)


def _in_lake(settings: Settings, topic: str, places: Collection[Place]) -> Standings:
    table = existing_table(settings, topic)
    if table is None:
        return {}
    app = f"{DeltaSink.name}:{settings.topic_prefix}{topic}:"
    with of_lake(f"looking for rows of {topic}"):
        found = {
            number: table.transaction_version(f"{app}{number}")
            for number in {number for number, _ in places}
        }
        reached = {number: offset for number, offset in found.items() if offset is not None}
        return _standings(reached, in_lake(table, places), places)


def _standings(
    reached: Mapping[int, int], there: Collection[Place], places: Collection[Place]
) -> Standings:
    def standing(place: Place) -> Standing:
        if place in there:
            return Standing.HAS
        # A sink makes its table before it reads, and then comes to all that is there.
        return Standing.PASSED if place[1] < reached.get(place[0], 0) else Standing.BEHIND

    return {place: standing(place) for place in places}
