"""Where a group of alert consumers begins in partitions that it has read nothing of."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime
from typing import Literal

from confluent_kafka import Consumer, KafkaException, TopicPartition

from nilo_consumers.decoding import TopicPart
from nilo_schemas.errors import UnreachableError

LIMIT = 10.0  # seconds
Start = Literal["new", "beginning"] | datetime
log = logging.getLogger(__name__)


def checked(start: Start) -> Start:
    """The start itself; raises ValueError for a word that is none, or a time without a zone."""
    if isinstance(start, datetime):
        if start.tzinfo is None:
            raise ValueError(f"start: {start} has no time zone; use datetime.now(UTC) or the like")
    elif start not in ("new", "beginning"):
        raise ValueError(f"start: {start!r} is neither 'new' nor 'beginning' nor a datetime")
    return start


def offsets(consumer: Consumer, parts: Sequence[TopicPart], start: Start) -> dict[TopicPart, int]:
    """The offset at which each partition begins: the group's own, else what `start` says.

    What `start` says is committed at once: so what comes from now on is not missed when the
    process dies before it has handled anything.

    Raises:
        UnreachableError: the brokers do not answer.
    """
    try:
        asked = consumer.committed([TopicPartition(*part) for part in parts], timeout=LIMIT)
        known = {(each.topic, each.partition): each.offset for each in asked if each.offset >= 0}
        found = {part: _kept(consumer, part, offset) for part, offset in known.items()}
        new = {part: _begin(consumer, part, start) for part in parts if part not in known}
        if new:
            places = [TopicPartition(*part, offset) for part, offset in new.items()]
            consumer.commit(offsets=places, asynchronous=False)
    except KafkaException as error:
        raise UnreachableError(f"no broker tells its offsets: {error.args[0].str()}") from error
    return found | new


def _begin(consumer: Consumer, part: TopicPart, start: Start) -> int:
    oldest, end = consumer.get_watermark_offsets(TopicPartition(*part), timeout=LIMIT)
    if not isinstance(start, datetime):
        return int(end if start == "new" else oldest)
    wanted = TopicPartition(*part, int(start.timestamp() * 1000))
    (at,) = consumer.offsets_for_times([wanted], timeout=LIMIT)
    return int(at.offset if at.offset >= 0 else end)


def _kept(consumer: Consumer, part: TopicPart, wanted: int) -> int:
    """The committed offset, or the oldest one where it is no more."""
    oldest, end = consumer.get_watermark_offsets(TopicPartition(*part), timeout=LIMIT)
    if wanted > end:
        log.warning("%s/%s was made anew: it is read from its beginning", *part)
        return int(oldest)
    if wanted < oldest:
        lost = oldest - wanted
        log.warning("%s/%s: %s alerts went by retention before they were read", *part, lost)
    return int(max(wanted, oldest))
