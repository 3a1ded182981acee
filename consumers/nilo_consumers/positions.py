"""Where to start the partitions that this process was given."""

from __future__ import annotations

import logging
from datetime import datetime

from confluent_kafka import Consumer, KafkaException, TopicPartition

from nilo_consumers.decoding import TopicPart
from nilo_consumers.errors import StoreMovedError
from nilo_consumers.sink import Offsets
from nilo_schemas.errors import UnreachableError

LIMIT = 10.0  # seconds
log = logging.getLogger(__name__)


def starts(
    consumer: Consumer, parts: list[TopicPart], stored: Offsets, since: datetime | None
) -> dict[TopicPart, int]:
    """The offset at which each partition starts.

    What the store says; else the first message after `since`; else the oldest one kept.

    Raises:
        StoreMovedError: a partition ends before what the store says: it was made anew.
        UnreachableError: the brokers do not answer.
    """
    try:
        recent = _after(consumer, [part for part in parts if part not in stored], since)
        return {part: _start(consumer, part, stored.get(part, recent.get(part))) for part in parts}
    except KafkaException as error:
        raise UnreachableError(f"no broker tells its offsets: {error.args[0].str()}") from error


def _after(
    consumer: Consumer, parts: list[TopicPart], since: datetime | None
) -> dict[TopicPart, int]:
    if since is None or not parts:
        return {}
    wanted = [TopicPartition(*part, int(since.timestamp() * 1000)) for part in parts]
    found = consumer.offsets_for_times(wanted, timeout=LIMIT)
    # -1 is the end of the partition, whose number `_start` looks up.
    return {(part.topic, part.partition): part.offset for part in found}


def _start(consumer: Consumer, part: TopicPart, wanted: int | None) -> int:
    oldest, end = consumer.get_watermark_offsets(TopicPartition(*part), timeout=LIMIT)
    if wanted is None:
        return int(oldest)
    if wanted < 0:
        return int(end)
    if wanted > end:
        raise StoreMovedError(
            f"the store holds {part[0]}/{part[1]} up to offset {wanted}, but the partition ends at "
            f"{end}: the topic was made anew; give its sink another place (database schema, lake, "
            "file), or delete what the store holds of the old one, its offset above all"
        )
    if wanted < oldest:
        lost = oldest - wanted
        log.warning("%s/%s: %s messages went by retention before they were stored", *part, lost)
    return int(wanted)
