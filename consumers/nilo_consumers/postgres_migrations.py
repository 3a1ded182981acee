"""Brings a database schema to this version: numbered SQL files, each once, forward only."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files

import psycopg
from psycopg import sql

from nilo_consumers.errors import StoreRefusedError

MIGRATIONS = "schema_migrations"
_LOCK = 0x6E696C6F  # "nilo"; earlier versions take the same one to make their tables
_CREATE = """
    CREATE TABLE IF NOT EXISTS {} (
        number integer PRIMARY KEY,
        name text NOT NULL,
        checksum text NOT NULL,
        applied_at timestamptz NOT NULL DEFAULT now())"""


@dataclass(frozen=True)
class SqlFile:
    """A shipped file of SQL, which names our tables without their schema."""

    name: str
    text: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the text, in hex."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    def run(self, connection: psycopg.Connection, schema: str) -> None:
        """Run the file in the transaction at hand, which looks into `schema` from then on."""
        path = sql.Identifier(schema).as_string(connection)
        connection.execute("SELECT set_config('search_path', %s, true)", [path])
        # As bytes, because the type of a text demands a literal; a file of ours is as good as one.
        connection.execute(self.text.encode())


@dataclass(frozen=True)
class Migration(SqlFile):
    """A step from one version of the tables to the next: `0002_days.sql` has the number 2."""

    @property
    def number(self) -> int:
        """Its place in the order."""
        return int(self.name.split("_")[0])


def sql_files(folder: str) -> dict[str, str]:
    """The texts of the SQL files in a folder of `postgres_sql`, by name, in order."""
    found = files("nilo_consumers").joinpath("postgres_sql", folder).iterdir()
    texts = {each.name: each.read_text("utf-8") for each in found if each.name.endswith(".sql")}
    return {name.removesuffix(".sql"): texts[name] for name in sorted(texts)}


def migrations() -> list[Migration]:
    """Our migrations in their order."""
    return [Migration(name, text) for name, text in sql_files("migrations").items()]


def lock(connection: psycopg.Connection) -> None:
    """Wait until nobody else changes the tables; held until the transaction ends."""
    connection.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])


def lock_shared(connection: psycopg.Connection) -> None:
    """Wait until nobody changes the tables, and let nobody begin until the transaction ends."""
    connection.execute("SELECT pg_advisory_xact_lock_shared(%s)", [_LOCK])


def migrate(connection: psycopg.Connection, schema: str, ours: Sequence[Migration]) -> None:
    """Apply what is missing, each in a transaction of its own; safe from any number of processes.

    Nothing is written, and no right to create anything is needed, when nothing is missing.

    Args:
        connection: in autocommit.
        schema: where the tables are or shall be.
        ours: all migrations that this version knows.

    Raises:
        StoreRefusedError: the schema is of a newer version, or an applied file was changed.
        psycopg.Error: the database does not answer or refuses.
    """
    for migration in pending(schema, _recorded(connection, schema), ours):
        with connection.transaction():
            lock(connection)
            _make_schema(connection, schema)
            # Another process may have applied it while this one waited for the lock.
            if migration in pending(schema, _recorded(connection, schema), ours):
                migration.run(connection, schema)
                _record(connection, schema, migration)


def pending(schema: str, recorded: Mapping[int, str], ours: Sequence[Migration]) -> list[Migration]:
    """What is to be applied to a schema with these recorded checksums by number.

    Raises:
        StoreRefusedError: see `migrate`.
    """
    newest = max(each.number for each in ours)
    ahead = max(recorded, default=0)
    if ahead > newest:
        raise StoreRefusedError(
            f"the tables in schema {schema} are of a newer version of nilometer (migration "
            f"{ahead}, this one knows {newest}): upgrade nilometer, or set another database_schema"
        )
    for each in ours:
        if recorded.get(each.number, each.checksum) != each.checksum:
            raise StoreRefusedError(
                f"migration {each.name} is not the file that was applied to schema {schema}: its "
                f"checksum is {each.checksum[:12]}, not {recorded[each.number][:12]}; install the "
                f"released nilometer again, and put a change into a new migration"
            )
    return [each for each in ours if each.number not in recorded]


def _recorded(connection: psycopg.Connection, schema: str) -> dict[int, str]:
    table = sql.Identifier(schema, MIGRATIONS)
    found = connection.execute("SELECT to_regclass(%s)", [table.as_string(connection)]).fetchone()
    if found == (None,):
        return {}
    return dict(connection.execute(sql.SQL("SELECT number, checksum FROM {}").format(table)))


def _make_schema(connection: psycopg.Connection, schema: str) -> None:
    # IF NOT EXISTS asks for the right to create even where there is nothing to create.
    exists = connection.execute("SELECT FROM pg_namespace WHERE nspname = %s", [schema]).fetchone()
    if exists is None:
        connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(schema)))
    connection.execute(sql.SQL(_CREATE).format(sql.Identifier(schema, MIGRATIONS)))


def _record(connection: psycopg.Connection, schema: str, migration: Migration) -> None:
    connection.execute(
        sql.SQL("INSERT INTO {} (number, name, checksum) VALUES (%s, %s, %s)").format(
            sql.Identifier(schema, MIGRATIONS)
        ),
        [migration.number, migration.name, migration.checksum],
    )
