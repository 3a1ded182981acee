"""Events out of Kafka, by fetch requests of our own: in no group, so nobody is rebalanced."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from aiokafka import errors
from aiokafka.client import AIOKafkaClient
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.structs import TopicPartition

from nilo_schemas.batch import BatchDecoder
from nilo_schemas.errors import NiloError, UnreachableError
from nilo_schemas.families import family_of_topic
from nilo_schemas.registry import Registry
from nilo_schemas.settings import Settings
from nilo_stream_processors.replay.errors import GoneError
from nilo_stream_processors.replay.record_batches import Batch, Unpacker, batches_of
from nilo_stream_processors.replay.rows import Rows, Stretch
from nilo_stream_processors.security import ssl_context

log = logging.getLogger(__name__)
# Of one partition at a time; it is more only for a batch that is larger.
FETCH_BYTES = 4 * 1024 * 1024
_WAIT_MILLISECONDS = 500
# A broker that is away or moves a partition has so long to come back.
_PATIENCE, _PAUSE = 60.0, 0.2
# As the processors read: records of aborted transactions too.
_READ_UNCOMMITTED = 0
_PASSING = (
    errors.NotLeaderForPartitionError,
    errors.LeaderNotAvailableError,
    errors.UnknownTopicOrPartitionError,
    errors.ReplicaNotAvailableError,
    errors.KafkaConnectionError,
    errors.NodeNotReadyError,
    errors.RequestTimedOutError,
    errors.CorrelationIdError,
    errors.StaleMetadata,
)


@dataclass(frozen=True)
class KafkaStore:
    """The topics of an installation."""

    settings: Settings

    def read(self, stretch: Stretch) -> Iterator[Rows]:
        """The events of a stretch, a fetch at a time; the next one is under way meanwhile.

        Raises:
            GoneError: retention has taken what was asked for.
            UnreachableError: no broker answers.
        """
        # It tells of a broker that does not answer at each try; `_fetch` tells it once.
        logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
        topic, _ = stretch.source
        decoder = BatchDecoder(family_of_topic(topic), _registry(self.settings).schema)
        unpacker = Unpacker(decoder)
        # No asyncio.Runner: at each run it writes the text of all that was fetched, for a signal.
        loop = asyncio.new_event_loop()
        try:
            fetcher = _Fetcher(self.settings, stretch)
            loop.run_until_complete(fetcher.open())
            try:
                while batches := loop.run_until_complete(fetcher.next()):
                    found = deque(unpacker.rows(batches, stretch.first, stretch.stop))
                    batches.clear()  # whoever waits for its turn holds no bytes
                    while found:
                        yield found.popleft()
            finally:
                loop.run_until_complete(fetcher.close())
        finally:
            loop.close()


_registries: dict[str, Registry] = {}


def _registry(settings: Settings) -> Registry:
    """One for all partitions that a process reads: it remembers schemas, and takes long to make."""
    url = settings.registry_url()
    if url not in _registries:
        _registries[url] = Registry(settings)
    return _registries[url]


class _Fetcher:
    """Asks the leader of one partition for one fetch after another."""

    def __init__(self, settings: Settings, stretch: Stretch) -> None:
        self._settings, self._stretch = settings, stretch
        topic, number = stretch.source
        self._place = TopicPartition(settings.topic_prefix + topic, number)
        self._next = stretch.first
        self._under_way: asyncio.Task[bytes] | None = None

    async def open(self) -> None:
        """Connect; raises UnreachableError."""
        self._client = AIOKafkaClient(
            bootstrap_servers=self._settings.brokers(),
            client_id=f"{self._settings.topic_prefix}nilo-replay",
            **_security(self._settings),
        )
        try:
            await self._client.bootstrap()
            await self._client.set_topics([self._place.topic])
        except errors.KafkaError as error:
            raise _unreachable(error) from error

    async def next(self) -> list[Batch]:
        """The next batches; none at the end of the stretch."""
        if self._next >= self._stretch.stop:
            return []
        data = await (self._under_way or self._fetch(self._next))
        batches = list(batches_of(data))
        self._next = batches[-1].end
        self._under_way = None
        if self._next < self._stretch.stop:
            self._under_way = asyncio.create_task(self._fetch(self._next))
            await asyncio.sleep(0.001)  # so that the request leaves before we go and decode
        return batches

    async def close(self) -> None:
        """Let go of the connections."""
        if self._under_way is not None:
            self._under_way.cancel()
        await self._client.close()

    async def _fetch(self, offset: int) -> bytes:
        """Bytes with at least one whole batch."""
        deadline, is_told = time.monotonic() + _PATIENCE, False
        while True:
            try:
                if data := await self._ask(offset):
                    return data
                problem: NiloError = self._short(offset)
            except _PASSING as error:
                problem = _unreachable(error)
                if not is_told:
                    log.warning("%s; it is asked for %.0f seconds", problem, _PATIENCE)
                is_told = True
                await asyncio.sleep(_PAUSE)
                await self._client.force_metadata_update()
            if time.monotonic() > deadline:
                raise problem

    def _short(self, offset: int) -> NiloError:
        topic, number = self._place
        return NiloError(
            f"{topic} partition {number} ends before offset {offset}, and had events up to "
            f"{self._stretch.stop - 1}: the brokers have lost them, or the topic was made anew"
        )

    async def _ask(self, offset: int) -> bytes:
        leader = self._client.cluster.leader_for_partition(self._place)
        if leader is None or leader < 0:
            raise errors.LeaderNotAvailableError
        part = (self._place.partition, offset, FETCH_BYTES)
        request = FetchRequest(
            _WAIT_MILLISECONDS, 1, FETCH_BYTES, _READ_UNCOMMITTED, [(self._place.topic, [part])]
        )
        response: Any = await self._client.send(leader, request)
        [(_, [(_, code, *_, data)])] = response.topics
        error = errors.for_code(code)
        if error is errors.OffsetOutOfRangeError:
            raise GoneError(self._stretch, offset)
        if error is not errors.NoError:
            if issubclass(error, _PASSING):
                raise error
            raise NiloError(f"{self._place.topic} is not read: {error.__name__}")
        return bytes(data or b"")


def _unreachable(error: Exception) -> UnreachableError:
    return UnreachableError(
        f"no broker answers ({type(error).__name__}); `nilo status` shows what runs"
    )


def _security(settings: Settings) -> dict[str, Any]:
    protocol, password = settings.kafka_security_protocol, settings.kafka_sasl_password
    given: dict[str, Any] = {"security_protocol": protocol}
    if protocol.endswith("SSL"):
        given["ssl_context"] = ssl_context(settings)
    if protocol.startswith("SASL"):
        given |= {
            "sasl_mechanism": settings.kafka_sasl_mechanism,
            "sasl_plain_username": settings.kafka_sasl_username,
            "sasl_plain_password": password and password.get_secret_value(),
        }
    return given
