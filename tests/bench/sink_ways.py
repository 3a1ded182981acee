"""The ways to store a topic that `nilo bench sinks` compares."""

from __future__ import annotations

import contextlib
import shutil
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import sql

from nilo_schemas.settings import Settings
from tests.bench import bare, nilo_sink, quix
from tests.bench.measure import Run
from tests.bench.stored import ORIGIN, Stored, in_files, in_lake, in_postgres
from tests.bench.stream import Stream

ID = ("id",)


@dataclass(frozen=True)
class Way:
    """A way to store a topic.

    `postgres`: into a schema, else into a folder; both are those of the settings, with nothing in
    them. `slow`: it takes the shorter topic.
    """

    name: str
    store: Callable[[Settings, Stream], Run]
    found: Callable[[Settings], Stored]
    postgres: bool = False
    slow: bool = False


def ways(python: Path | None) -> list[Way]:
    """All of them, those to compare side by side; `python` has Quix Streams, None: without it."""
    origins: Callable[[Settings], Stored] = lambda mine: in_postgres(mine, ORIGIN)  # noqa: E731  named twice below
    found = [
        Way("copy", lambda mine, _: bare.store(mine, "copy"), origins, postgres=True),
        Way("postgres", _ours("postgres"), origins, postgres=True),
    ]
    if python is not None:
        theirs = _theirs(python, "quix_postgres")
        found.append(
            Way("quix_postgres", theirs, lambda m: in_postgres(m, ID), postgres=True, slow=True)
        )
    found += [
        Way(
            "write_table",
            lambda mine, _: bare.store(mine, "write_table"),
            lambda m: in_files(m, ORIGIN),
        ),
        Way("parquet", _ours("parquet"), in_lake),
    ]
    if python is not None:
        theirs = _theirs(python, "quix_files")
        found.append(Way("quix_files", theirs, lambda m: in_files(m, ID), slow=True))
    return found


def _ours(name: str) -> Callable[[Settings, Stream], Run]:
    return lambda mine, stream: nilo_sink.work_off(mine, name, stream)


def _theirs(python: Path, program: str) -> Callable[[Settings, Stream], Run]:
    return lambda mine, stream: quix.work_off(python, program, mine, stream)


@contextlib.contextmanager
def fresh(settings: Settings) -> Iterator[Settings]:
    """Settings with a schema's name and a lake's folder in which nothing is; both go at the end."""
    own = f"bench{uuid.uuid4().hex[:8]}"
    folder = settings.home / own
    folder.mkdir()
    try:
        yield settings.model_copy(update={"database_schema": own, "lake": str(folder)})
    finally:
        shutil.rmtree(folder)
        with psycopg.connect(settings.database(), autocommit=True) as connection:
            connection.execute(
                sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(own))
            )
            # What one way has written is not for the next one to bring to the disk. The role of a
            # database that is configured may not be allowed to see to that.
            with contextlib.suppress(psycopg.errors.InsufficientPrivilege):
                connection.execute("CHECKPOINT")
