"""A program of a user that writes the alerts it has handled into SQLite, each id once."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from nilo_consumers import AlertConsumer
from nilo_schemas.settings import Settings


def keep(settings: Settings, file: Path, started: Any) -> None:
    """Handle alerts for ever; `started` is set when the first one comes."""
    with (
        closing(sqlite3.connect(file, isolation_level=None)) as store,
        AlertConsumer("keeper", start="beginning", instance="1", settings=settings) as alerts,
    ):
        store.execute("CREATE TABLE IF NOT EXISTS handled (id TEXT PRIMARY KEY)")
        for alert in alerts:
            started.set()
            store.execute("INSERT OR IGNORE INTO handled VALUES (?)", (alert.id,))
