"""A Faust transport that moves whole fetches: one Faust message per partition and fetch.

Registered as the scheme `nilo://` (entry point `faust.transports`). Topics in `chunked` arrive
as `Chunk`s, all others record by record. Every commit first asks the app to write its state:
see `ChunkConsumer._commit_tps`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol, cast

from faust.transport.drivers import aiokafka as stock
from faust.types import TP


class StateKeeper(Protocol):
    """What the consumer asks of the app that keeps state."""

    chunked: frozenset[str]

    async def write_state(self) -> None:
        """Write all state that changed, and wait until the broker has it."""

    def start_offset(self, tp: TP) -> int | None:
        """Where reading must begin for the state as it is; None: at the committed offset."""


@dataclass(frozen=True)
class Chunk:
    """All records that one fetch brought of one partition, in order; offsets may have gaps."""

    records: list[Any]

    @property
    def offset(self) -> int:
        """The offset of the last record."""
        return int(self.records[-1].offset)

    def values(self) -> list[bytes | None]:
        """The message values."""
        return [record.value for record in self.records]


class ChunkConsumer(stock.Consumer):
    """Faust's aiokafka consumer with chunks, their commit bookkeeping, and real seeks."""

    @property
    def keeper(self) -> StateKeeper:
        """The part of the app that keeps state."""
        keeper: StateKeeper = cast("Any", self.app).keeper
        return keeper

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._in_place: set[TP] = set()

    async def _getmany(self, active_partitions: set[TP] | None, timeout: float) -> Any:
        chunked = self.keeper.chunked
        await self._go_to_start(active_partitions or set())
        fetched = await super()._getmany(active_partitions, timeout)
        return {
            tp: [Chunk(records)] if tp.topic in chunked and records else records
            for tp, records in fetched.items()
        }

    def _to_message(self, tp: TP, record: Any) -> Any:
        if not isinstance(record, Chunk):
            return super()._to_message(tp, record)
        message = super()._to_message(tp, record.records[-1])
        # Faust declares bytes here, and with the raw codec hands on whatever there is.
        message.value, message.key, message.headers = cast("Any", record), None, None
        return message

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        # A chunk covers its gaps; stock bookkeeping would list every offset between two chunks.
        if tp.topic not in self.keeper.chunked:
            await super()._add_gap(tp, offset_from, offset_to)

    def _new_offset(self, tp: TP) -> int | None:
        if tp.topic not in self.keeper.chunked:
            return super()._new_offset(tp)
        acked = self._acked[tp]
        if not acked:
            return None
        # One agent without concurrency acknowledges the chunks of a partition in order.
        newest = max(acked) + 1
        acked.clear()
        self._acked_index[tp].clear()
        return newest

    async def _commit_tps(self, tps: Iterable[TP], start_new_transaction: bool) -> bool:
        """Commit in this order: 1 take the offsets, 2 write state, 3 commit the offsets.

        State may hold more than the offsets say, never less; it knows its own offsets.
        """
        offsets = self._filter_committable_offsets(tps)  # 1
        await self.keeper.write_state()  # 2
        if not offsets:
            return False
        return await self._commit_offsets(offsets, start_new_transaction)  # 3

    async def _go_to_start(self, active: set[TP]) -> None:
        """Seek partitions to where their state ends, once after every stop of the flow.

        Stock Faust drops what a fetch brings while the flow is stopped, and reads on behind it.
        Here the seek is part of the fetch loop, so nothing can come between; what comes twice,
        the state knows by its offset.
        """
        misplaced = {tp for tp in active - self._in_place if tp.topic in self.keeper.chunked}
        if not misplaced:
            return
        self._in_place |= misplaced
        earliest = await self.earliest_offsets(*misplaced)
        starts = {tp: self.keeper.start_offset(tp) for tp in misplaced}
        await self.seek_wait(
            {
                tp: max(start or self._committed_offset.get(tp) or 0, earliest[tp])
                for tp, start in starts.items()
            }
        )

    def stop_flow(self) -> None:
        """Stop handing out messages; see `_go_to_start`."""
        self._in_place.clear()
        super().stop_flow()

    def resume_flow(self) -> None:
        """Hand out messages again; see `_go_to_start`."""
        self._in_place.clear()
        super().resume_flow()

    async def perform_seek(self) -> None:
        """Note the committed offsets; the fetch loop does the seeking."""
        await super().perform_seek()
        self._in_place.clear()


class Transport(stock.Transport):
    """Faust's aiokafka transport with the chunk consumer."""

    Consumer = ChunkConsumer
