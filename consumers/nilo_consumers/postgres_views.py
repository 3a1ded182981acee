"""The materialised views for dashboards: made when missing or changed, refreshed beside readers."""

from __future__ import annotations

import psycopg
from psycopg import sql

from nilo_consumers.postgres_migrations import SqlFile, sql_files

VIEWS = "schema_views"


def views() -> list[SqlFile]:
    """Our views, by name; each file makes one, with the unique index that its refresh needs."""
    return [SqlFile(name, text) for name, text in sql_files("views").items()]


def make_view(connection: psycopg.Connection, schema: str, view: SqlFile) -> bool:
    """Make a view, or make it anew when its file has changed; False when its table is missing.

    Args:
        connection: in autocommit.
        schema: where the tables are.
        view: one of `views()`.

    Raises:
        psycopg.Error: the database does not answer or refuses.
    """
    if _made(connection, schema).get(view.name) == view.checksum:
        return True
    name = sql.Identifier(schema, view.name)
    try:
        with connection.transaction():
            connection.execute(sql.SQL("DROP MATERIALIZED VIEW IF EXISTS {}").format(name))
            view.run(connection, schema)
            connection.execute(
                sql.SQL(
                    "INSERT INTO {} (name, checksum) VALUES (%s, %s) ON CONFLICT (name)"
                    " DO UPDATE SET checksum = EXCLUDED.checksum, made_at = now()"
                ).format(sql.Identifier(schema, VIEWS)),
                [view.name, view.checksum],
            )
    except psycopg.errors.UndefinedTable:
        return False
    return True


def refresh_view(connection: psycopg.Connection, schema: str, view: SqlFile) -> None:
    """Bring a view up to date; readers see the old rows until it is done, writers never wait."""
    connection.execute(
        sql.SQL("REFRESH MATERIALIZED VIEW CONCURRENTLY {}").format(
            sql.Identifier(schema, view.name)
        )
    )


def _made(connection: psycopg.Connection, schema: str) -> dict[str, str]:
    """The checksums of the views that are there."""
    query = sql.SQL(
        "SELECT name, checksum FROM {} JOIN pg_matviews ON matviewname = name AND schemaname = %s"
    ).format(sql.Identifier(schema, VIEWS))
    return dict(connection.execute(query, [schema]))
