"""The stores of rows: each event is a row, and the offsets are stored together with it."""

from __future__ import annotations

import signal
import sqlite3
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from deltalake import DeltaTable

from nilo_consumers import sqlite_file
from nilo_consumers.delta import DeltaSink
from nilo_consumers.lake import table_location
from nilo_consumers.postgres import PostgresSink
from nilo_consumers.sqlite import SqliteSink
from nilo_deploy import start_server, stop_server
from nilo_schemas.codec import encode
from nilo_schemas.families import LlmEvent
from nilo_schemas.registry import Registry
from nilo_schemas.settings import Settings
from tests.integration.conformance.case import Case
from tests.integration.sinking import COUNT, LLM, calls, change_sqlite, query

POISON = LlmEvent(type="llm.call", source="poison")


class Rows(Case):
    """A row is known by its partition and offset."""

    topic = LLM
    scale = 1.0
    resumes = "store"

    def send(self, number: int, *, partition: int | None = None) -> None:
        calls(self.settings, number, **({} if partition is None else {"partition": partition}))

    def poison(self) -> bytes:
        return encode(POISON, Registry(self.settings).schema_id(LlmEvent))

    def held(self) -> int:
        return COUNT[self.name](self.settings, LLM)

    def different(self) -> int:
        return COUNT[self.name](self.settings, LLM, distinct=True)

    def refuse_poison(self) -> None:
        with self.running():
            pass  # it makes the table
        self.refuse()

    @abstractmethod
    def refuse(self) -> None:
        """Make the table refuse the poison."""


class Postgres(Rows):
    """The server is stopped."""

    name, sink, says = "postgres", PostgresSink, "PostgreSQL"

    def refuse(self) -> None:
        query(self.settings, "ALTER TABLE events_llm ADD CHECK (source <> 'poison')")

    @contextmanager
    def away(self) -> Iterator[None]:
        if not self.settings.run_file.exists():
            pytest.skip("the server is not ours to stop: it belongs to no embedded stack")
        # Not SIGTERM, which waits for the sink to go.
        stop_server(self.settings.home, "postgres", signal.SIGINT)
        try:
            yield
        finally:
            start_server(self.settings.home, "postgres")


class Parquet(Rows):
    """A file lies where the lake was, as when the disk beneath it is another."""

    name, sink, says = "parquet", DeltaSink, "the lake fails"

    def refuse(self) -> None:
        table = DeltaTable(table_location(self.settings, LLM))
        table.alter.add_constraint({"no_poison": "source <> 'poison'"})

    @contextmanager
    def away(self) -> Iterator[None]:
        lake = Path(self.settings.lake_location)
        elsewhere = lake.rename(lake.with_name("elsewhere"))
        lake.write_text("no lake")
        try:
            yield
        finally:
            lake.unlink()
            elsewhere.rename(lake)


class Sqlite(Rows):
    """Another program keeps the file locked."""

    name, sink, says = "sqlite", SqliteSink, "another program keeps it locked"

    def __init__(self, settings: Settings, patch: pytest.MonkeyPatch) -> None:
        super().__init__(settings, patch)
        patch.setattr(sqlite_file, "BUSY_LIMIT", 1.0)  # who is to wait in vain need not wait long

    def refuse(self) -> None:
        change_sqlite(
            self.settings,
            "CREATE TRIGGER no_poison BEFORE INSERT ON events_llm WHEN NEW.source = 'poison'"
            " BEGIN SELECT RAISE(ABORT, 'poison'); END",
        )

    @contextmanager
    def away(self) -> Iterator[None]:
        path = self.settings.sqlite_location
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            yield
