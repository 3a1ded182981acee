"""A Faust table as a place for state: written by us at each commit, recovered by Faust.

`memory://` tables are rebuilt from their changelog alone: a local store that is ahead of its
changelog loses events after a crash (ARCHITECTURE, "How exactness works"). So what is written does
not go into the table: the next recovery reads it from the log.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import faust

from nilo_stream_processors.outbox import Outbox

log = logging.getLogger(__name__)


class Changelog:
    """State as keys and values of bytes, each belonging to one partition."""

    def __init__(self, app: faust.App, name: str, partitions: int, outbox: Outbox) -> None:
        self._app: Any = app
        self._outbox = outbox
        self._table: Any = app.Table(
            name, key_type=bytes, value_type=bytes, partitions=partitions, store="memory://"
        )

    def put(self, partition: int, key: bytes, value: bytes | None) -> None:
        """Write one entry, None to remove it; the outbox brings it to the broker."""
        topic = self._table.changelog_topic.get_topic_name()
        self._outbox.send(topic, key, value, partition=partition)

    def entries(self) -> Iterator[tuple[int, bytes, bytes]]:
        """Partition, key and value of every entry that the last recovery has read."""
        store = self._table.data
        for key, value in store.data.items():
            if value is not None:
                yield store._key_partition[key], key, value

    def on_recovered(self, callback: Callable[[], Awaitable[None]]) -> None:
        """Call an async function after each recovery, before reading goes on.

        When it fails the app ends: Faust would go on without the state.
        """

        async def recovered() -> None:
            try:
                await callback()
            except Exception as error:
                log.exception("%s: the state cannot be read back", self._table.name)
                await self._app.crash(error)

        self._table.on_recover(recovered)
