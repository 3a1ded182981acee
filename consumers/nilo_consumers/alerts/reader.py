"""The thread of an alert consumer that stays in the group while alerts are handled."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import CancelledError

from confluent_kafka import KafkaException, Message, TopicPartition

from nilo_consumers.alerts.handover import Handover
from nilo_consumers.alerts.starting import Start, offsets
from nilo_consumers.alerts.wanted import Wanted
from nilo_consumers.dead import DeadLetters
from nilo_consumers.decoding import DeadLetter, TopicPart
from nilo_consumers.group import consumer_config, refused
from nilo_consumers.member import Member
from nilo_consumers.metrics import SinkMetrics
from nilo_consumers.staying import POLL, StoppedError
from nilo_schemas.alerts import Alert
from nilo_schemas.codec import decode
from nilo_schemas.errors import DecodeError, Reason
from nilo_schemas.registry import Registry
from nilo_schemas.settings import Settings

_FETCH = 100  # messages; so many may be decoded before their offsets are committed
log = logging.getLogger(__name__)


def group_of(settings: Settings, group: str) -> str:
    """The consumer group of the alert consumers of a name."""
    return f"{settings.topic_prefix}nilo-alerts-{group}"


class Reader:
    """Reads `alerts`, hands over what is wanted, and commits what is done.

    An offset passes when its alert was handled, was not wanted, or has become a dead letter.
    """

    def __init__(
        self,
        settings: Settings,
        group: str,
        *,
        wanted: Wanted,
        start: Start,
        instance: str | None,
        hand: Handover,
        stop: threading.Event,
    ) -> None:
        name, full = f"alerts-{group}", group_of(settings, group)
        config = consumer_config(settings, full)
        if instance is not None:
            config["group.instance.id"] = instance
        self._topic = settings.topic_prefix + Alert.kafka_topic
        self._wanted, self._hand, self._stop = wanted, hand, stop
        self._start: Start = start
        self._member = Member(name, config, stop, SinkMetrics(name, full), forget=self._forget)
        self._staying = self._member.staying
        self._schema = Registry(settings).schema
        self._dead = DeadLetters(settings, name)
        self._next: dict[TopicPart, int] = {}
        self._uncommitted = False

    def run(self) -> None:
        """Read until `stop` is set; then commit and leave the group."""
        error: BaseException | None = None
        try:
            self._member.join([self._topic])
            while not self._stop.is_set():
                self._member.attempt(self._turn)
            self._commit(wait=True)
        except KafkaException as trouble:
            error = refused(trouble.args[0])
        except BaseException as trouble:
            error = trouble
        finally:
            # Before it ends: who then closes the process has left the group in good order.
            self._member.leave()
            self._hand.end(error)

    def _turn(self) -> None:
        self._position()
        for message in self._member.read(POLL, _FETCH):
            if self._stop.is_set():
                return
            self._accept(message)
        if self._uncommitted:
            self._commit()

    def _accept(self, message: Message) -> None:
        part, offset = (str(message.topic()), int(message.partition() or 0)), message.offset() or 0
        # A partition that was taken away meanwhile has no next offset.
        if offset < self._next.get(part, offset + 1):
            return
        told = self._handled(message)
        self._next[part] = offset + 1
        self._uncommitted = True
        if told:
            self._commit()

    def _handled(self, message: Message) -> bool:
        """Hand an alert over or bury it; whether there was anything to do about it."""
        try:
            alert = self._staying.retried(lambda: decode(message.value(), Alert, self._schema))
        except DecodeError as error:
            self._bury(message, error.reason, error.detail)
            return True
        if not self._wanted(alert):
            return False
        failure = self._handed_over(alert)
        if failure is not None:
            self._bury(message, Reason.FAILED, failure)
        return True

    def _handed_over(self, alert: Alert) -> str | None:
        offered = self._hand.offer(alert)
        try:
            return self._staying.retried(lambda: self._staying.result(offered))
        except CancelledError:
            raise StoppedError from None

    def _bury(self, message: Message, reason: Reason, detail: str) -> None:
        partition, offset = int(message.partition() or 0), int(message.offset() or 0)
        letter = DeadLetter(self._topic, partition, offset, message, reason, detail)
        self._staying.retried(lambda: self._dead.send([letter]))

    def _commit(self, *, wait: bool = False) -> None:
        self._uncommitted = False
        places = [TopicPartition(*part, offset) for part, offset in self._next.items()]
        if not places:
            return
        try:
            if wait:
                self._member.consumer.commit(offsets=places, asynchronous=False)
            else:
                self._member.consumer.commit(offsets=places, asynchronous=True)
        except KafkaException as error:
            log.info("offsets not committed: %s", error.args[0].str())

    def _position(self) -> None:
        parts = self._member.assigned()
        if parts is None:
            return
        consumer = self._member.consumer
        self._next = self._staying.retried(lambda: offsets(consumer, parts, self._start))
        self._member.start(self._next)

    def _forget(self) -> None:
        """Drop what was read: other processes have it now."""
        self._next = {}
        self._uncommitted = False
        self._hand.withdraw()
