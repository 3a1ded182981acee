"""What keeps the PostgreSQL store in shape beside the sink: days made ahead, views refreshed."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial

import psycopg
from prometheus_client import CollectorRegistry, Counter

from nilo_consumers.postgres_days import (
    DAYS_AHEAD,
    days_made,
    first_hot,
    hot_days,
    last_made,
    make_day,
    stray_days,
    topics_of,
)
from nilo_consumers.postgres_migrations import SqlFile
from nilo_consumers.postgres_views import make_view, refresh_view, views
from nilo_schemas.settings import Settings

_LOCK = 0x6E696C6D  # "nilm"; with the schema's hash beside it
_REST = 10  # after a round, so many times as long as it took
_CANCEL_AGAIN = 0.2  # seconds
_STOP_LIMIT = 10.0  # seconds; a server that has gone answers no sooner
log = logging.getLogger(__name__)


class Maintenance:
    """A thread with a connection of its own; of several sinks on one schema one does the work.

    What fails is logged, counted in `nilo_maintenance_failures_total` and tried in the next round.
    """

    def __init__(
        self,
        settings: Settings,
        connect: Callable[[], psycopg.Connection],
        registry: CollectorRegistry | None,
    ) -> None:
        self._hot, self._schema = hot_days(settings), settings.database_schema
        self._every, self._connect = settings.maintenance_every, connect
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._connection: psycopg.Connection | None = None
        self._failures = Counter(
            "nilo_maintenance_failures",
            "Steps of the PostgreSQL store's maintenance that failed",
            ["step"],
            registry=registry,
        )

    def start(self) -> None:
        """Begin, unless it runs already or `maintenance_every` is 0."""
        if self._thread is None and self._every > 0:
            self._stop.clear()
            self._thread = threading.Thread(target=self._run, name="nilo-maintenance", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End; a statement that runs is cancelled. Waits ten seconds at most."""
        self._stop.set()
        until = time.monotonic() + _STOP_LIMIT
        while self._thread is not None and self._thread.is_alive() and time.monotonic() < until:
            # Again and again: the first may have come just before the statement.
            if (connection := self._connection) is not None:
                with suppress(psycopg.Error):
                    connection.cancel_safe(timeout=1.0)
            self._thread.join(_CANCEL_AGAIN)
        self._thread = None

    def _run(self) -> None:
        rest = 0.0
        while not self._stop.wait(rest):
            began = time.monotonic()
            self._try("connect", self._connected_round)
            rest = max(self._every, _REST * (time.monotonic() - began))

    def _connected_round(self) -> None:
        with self._connect() as connection:
            self._connection = connection
            try:
                self.round(connection)
            finally:
                self._connection = None

    def round(self, connection: psycopg.Connection) -> None:
        """Do all that is due once, unless another process is at it; `connection` in autocommit."""
        lock = "SELECT pg_try_advisory_lock(%s, hashtext(%s))"
        if connection.execute(lock, [_LOCK, self._schema]).fetchone() != (True,):
            return
        for topic in topics_of(connection, self._schema):
            self._try("days", partial(self._make_days, connection, topic))
        for view in views():
            self._try(view.name, partial(self._renew, connection, view))

    def _make_days(self, connection: psycopg.Connection, topic: str) -> None:
        """Make the days ahead, and those hot ones that have rows in DEFAULT."""
        today = datetime.now(UTC).date()
        first, last = first_hot(today, self._hot[topic]), last_made(today)
        wanted = stray_days(connection, self._schema, topic, first, last)
        wanted |= {today + timedelta(days=ahead) for ahead in range(DAYS_AHEAD + 1)}
        for day in sorted(wanted - days_made(connection, self._schema, topic)):
            make_day(connection, self._schema, topic, day)

    def _renew(self, connection: psycopg.Connection, view: SqlFile) -> None:
        if make_view(connection, self._schema, view):
            refresh_view(connection, self._schema, view)

    def _try(self, step: str, work: Callable[[], None]) -> None:
        if self._stop.is_set():
            return
        try:
            work()
        except psycopg.Error as error:
            if not self._stop.is_set():
                # The first line alone: the others may show rows.
                log.warning("maintenance of PostgreSQL, %s: %s", step, str(error).split("\n")[0])
                self._failures.labels(step).inc()
