"""Windows that are no rows on purpose: provisional, come again, or taken away in time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

from nilo_consumers.audit.in_kafka import InKafka
from nilo_consumers.audit.spans import of_offsets
from nilo_consumers.batch import OFFSET, PARTITION, Span
from nilo_consumers.decoding import Decoder
from nilo_consumers.tables import WINDOWS
from nilo_consumers.tiers.windows.record import Removed
from nilo_schemas.registry import Registry
from nilo_schemas.settings import Settings

PROVISIONAL, REPEATED = "provisional", "repeated"
_KEY = ("metric", "window", "window_start", "dimensions", "revision")


@dataclass
class Filtered:
    """The offsets of a partition whose windows are provisional, come again, or were taken away.

    A worker publishes its last windows again after a restart: PostgreSQL keeps the first of a
    revision, the lake all.
    """

    provisional: list[Span] = field(default_factory=list)
    repeated: list[Span] = field(default_factory=list)
    expired: list[Span] = field(default_factory=list)


def filtered(
    settings: Settings, kafka: InKafka, until: Mapping[int, int], removed: Removed
) -> dict[int, Filtered]:
    """What is no row of `metrics.windows`, by partition, up to these offsets.

    Args:
        removed: what `nilo tiers run` has taken out of the store that is looked at.

    Raises:
        UnreachableError: the brokers or the registry do not answer.
    """
    decoder = Decoder(settings.topic_prefix, Registry(settings).schema)
    topic = settings.topic_prefix + WINDOWS
    provisional: dict[int, list[int]] = {number: [] for number in until}
    repeated: dict[int, list[int]] = {number: [] for number in until}
    expired: dict[int, list[int]] = {number: [] for number in until}
    seen: set[bytes] = set()
    for messages in kafka.messages(WINDOWS, until):
        number = messages[0].partition() or 0
        chunk, _ = decoder.chunk((topic, number), 0, messages)
        for row in _rows(chunk.rows):
            key = _digest(row)
            if not row["final"]:
                provisional[number].append(row[OFFSET])
                continue
            if removed.has(row):
                expired[number].append(row[OFFSET])
            if key in seen:
                repeated[number].append(row[OFFSET])
            else:
                seen.add(key)
    return {
        number: Filtered(*map(of_offsets, (provisional[number], repeated[number], expired[number])))
        for number in until
    }


def _rows(rows: Any) -> Iterator[dict[str, Any]]:
    yield from rows.select([*_KEY, "final", PARTITION, OFFSET]).to_pylist()


def _digest(row: Mapping[str, Any]) -> bytes:
    """The key of a window in a few bytes: many are remembered."""
    labels = sorted(map(tuple, row["dimensions"]))
    key = repr([labels if name == "dimensions" else row[name] for name in _KEY])
    return blake2b(key.encode(), digest_size=16).digest()
