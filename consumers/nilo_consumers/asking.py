"""A thread beside a sink that asks Kafka for what the sink itself does not read."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from nilo_schemas.clients import kafka_config
from nilo_schemas.errors import NiloError
from nilo_schemas.groups import Place
from nilo_schemas.settings import Settings

EVERY = 10.0  # seconds
_READ = 5.0  # seconds in which the messages must come
_FETCH = 1024  # bytes; a broker gives one whole batch at least
log = logging.getLogger(__name__)


class Asker:
    """Reads single messages; it belongs to no group and commits nothing."""

    def __init__(self, settings: Settings, stop: threading.Event) -> None:
        self._stop = stop
        self._consumer = Consumer(
            kafka_config(
                settings,
                group_id=f"{settings.topic_prefix}nilo-asker",  # librdkafka wants one to be named
                enable_auto_commit=False,
                auto_offset_reset="earliest",
                fetch_message_max_bytes=_FETCH,
                queued_min_messages=1,
            )
            | {"log_level": 0}
        )

    def first_messages(self, wanted: Mapping[Place, int]) -> dict[Place, Message]:
        """The first message at or behind each offset, as far as they come in time."""
        self._consumer.assign([TopicPartition(*place, at) for place, at in wanted.items()])
        found: dict[Place, Message] = {}
        deadline = time.monotonic() + _READ
        while len(found) < len(wanted) and not self._over(deadline):
            for message in self._consumer.consume(100, 0.1):
                topic, partition = message.topic(), message.partition()
                if message.error() is None and topic is not None and partition is not None:
                    found.setdefault((topic, partition), message)
        self._consumer.unassign()
        return found

    def close(self) -> None:
        """Let go of the brokers."""
        self._consumer.close()

    def _over(self, deadline: float) -> bool:
        return self._stop.is_set() or time.monotonic() > deadline


Work = Callable[[Asker], None]


@contextmanager
def asking(settings: Settings, work: Sequence[Work]) -> Iterator[None]:
    """Do the work every ten seconds, in a thread of its own, while the block runs."""
    stop = threading.Event()
    thread = threading.Thread(target=_ask, args=(settings, work, stop), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _ask(settings: Settings, work: Sequence[Work], stop: threading.Event) -> None:
    asker, told = Asker(settings, stop), ""
    while not stop.is_set():
        trouble = ""
        for each in work:
            try:
                each(asker)
            except (KafkaException, NiloError) as error:
                trouble = str(error)
        if trouble and not told:
            log.warning("alerts, lag or exemplars are not known: %s", trouble)
        told = trouble
        stop.wait(EVERY)
    asker.close()
