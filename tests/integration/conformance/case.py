"""What the conformance suite must know of a sink: a subclass of `Case` for each.

A sink that is new gets one too; until then the suite fails for it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest
from confluent_kafka import OFFSET_INVALID, Consumer, ConsumerGroupTopicPartitions, TopicPartition
from confluent_kafka.admin import AdminClient

from nilo_consumers.group import group_id
from nilo_schemas.clients import kafka_config
from nilo_schemas.settings import Settings
from tests.integration.conformance import short_lived
from tests.integration.programs import Program, free_port, running, wait_for
from tests.integration.sinking import Running, produce, sinking

Origin = tuple[int, int]


class Case(ABC):
    """One sink, the store that it writes to, and messages for it.

    Attributes:
        name: the sink's.
        sink: its class.
        topic: what it reads, without prefix.
        scale: how much it is given; 1.0: 200,000 records, which a kill interrupts.
        buries: whether dead letters are made of its poison; else it is counted only.
        resumes: whose offsets are its own: those of the store or the group, or it has none.
        says: what its health says while the store is away.
        without: the properties that have no meaning for it, and why.
    """

    name: ClassVar[str]
    sink: ClassVar[Any]
    topic: ClassVar[str]
    scale: ClassVar[float]
    buries: ClassVar[bool] = True
    resumes: ClassVar[Literal["store", "group", "nowhere"]] = "nowhere"
    says: ClassVar[str]
    without: ClassVar[dict[str, str]] = {}

    def __init__(self, settings: Settings, patch: pytest.MonkeyPatch) -> None:
        self.settings, self.patch = settings, patch
        self.port = free_port()

    @abstractmethod
    def send(self, number: int, *, partition: int | None = None) -> None:
        """Send so many records that the store takes, to one partition or to all."""

    @abstractmethod
    def poison(self) -> bytes:
        """A message that the store refuses, or that is no record where no store can refuse."""

    @abstractmethod
    def held(self) -> int:
        """How many records the store holds, each as often as it is there."""

    @abstractmethod
    def different(self) -> int:
        """How many different ones it holds."""

    @abstractmethod
    def away(self) -> AbstractContextManager[None]:
        """The store does not answer while the block runs."""

    def refuse_poison(self) -> None:  # noqa: B027  most need do nothing
        """Make the store refuse the poison."""

    def close(self) -> None:  # noqa: B027  likewise
        """End what was started for the store."""

    def wait(self, number: int) -> None:
        """Wait for so many records in the store, none of them twice."""
        wait_for(f"{number} records in {self.name}", lambda: self.held() >= number)
        assert (self.held(), self.different()) == (number, number)

    @contextmanager
    def running(self) -> Iterator[Running]:
        """Run the sink in a thread."""
        with sinking(self.name, self.settings, topics=[self.topic]) as sink:
            yield sink

    @contextmanager
    def process(self, log: Path) -> Iterator[Program]:
        """Run the sink in a process of its own, which may be killed."""
        words = self.name, self.topic, self.port
        with running(self.settings, *words, log=log, module=short_lived.__name__) as process:
            yield process

    def many(self, share: float = 1.0) -> int:
        """A number of records by what this sink is given."""
        return round(200_000 * self.scale * share)

    def send_poison(self, partition: int) -> Origin:
        """Send one that is refused; where it lies."""
        origin = partition, self.end(partition)
        more = {"partition": partition, "key": b"k", "headers": [("h", b"1")]}
        produce(self.settings, self.topic, [self.poison()], **more)
        return origin

    def send_garbage(self, partition: int) -> None:
        """Send a message that is no record."""
        produce(self.settings, self.topic, [b"garbage"], partition=partition)

    def end(self, partition: int) -> int:
        """The offset behind a partition's last message."""
        with self._consumer() as consumer:
            return int(consumer.get_watermark_offsets(self._part(partition), timeout=10)[1])

    def committed(self, partition: int) -> int:
        """The group's offset of a partition."""
        with self._consumer() as consumer:
            return int(consumer.committed([self._part(partition)], timeout=10)[0].offset)

    @property
    def regrouped(self) -> Sequence[str]:
        """What may be done to the group's offsets while the sink is down, without a loss."""
        return ("kept", "set back") if self.resumes == "group" else ("set back", "ahead", "gone")

    def regroup(self, how: str, end: int) -> int:
        """Do it to partition 0, whose records up to `end` are held; where the sink has to begin."""
        if how == "gone":
            admin = AdminClient(kafka_config(self.settings))
            admin.delete_consumer_groups([self._group])[self._group].result(30)
        elif how != "kept":
            self.set_group(0 if how == "set back" else end + 5)
        group = end if how == "kept" else 0
        return {"store": end, "group": group, "nowhere": 0}[self.resumes]

    def set_group(self, offset: int) -> None:
        """Set what the group has committed of partition 0."""
        admin = AdminClient(kafka_config(self.settings))
        wanted = ConsumerGroupTopicPartitions(self._group, [self._part(0, offset)])
        for future in admin.alter_consumer_group_offsets([wanted]).values():
            future.result(30)

    @property
    def _group(self) -> str:
        return group_id(self.settings, self.name)

    def _part(self, partition: int, offset: int = OFFSET_INVALID) -> TopicPartition:
        return TopicPartition(self.settings.topic_prefix + self.topic, partition, offset)

    @contextmanager
    def _consumer(self) -> Iterator[Consumer]:
        consumer = Consumer(kafka_config(self.settings, group_id=self._group))
        yield consumer
        consumer.close()
