"""Where `nilo tail` begins and ends, in kcat's words: beginning, end, 42, -10, s@MS, e@MS."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from confluent_kafka import TopicPartition

from nilo_cli.errors import UsageError

LIMIT = 10.0  # seconds in which the brokers must answer


@dataclass(frozen=True)
class Span:
    """What to read: from an offset (negative: so many before the end) or time, up to a time.

    `start` is `beginning`, `end` or a number; times are milliseconds since 1970 and win over it.
    """

    start: str | int = "end"
    start_ms: int | None = None
    end_ms: int | None = None


@dataclass(frozen=True)
class Range:
    """Offsets to read of one partition: `[first, stop)`; without `stop` for as long as it goes."""

    first: int
    stop: int | None


def parse_span(words: Sequence[str]) -> Span:
    """The span that the values of `-o` ask for; raises UsageError."""
    start: str | int = "end"
    times: dict[str, int] = {}
    for word in words:
        kind, at, number = word.partition("@")
        if at and kind in ("s", "e") and number.isdecimal():
            times[kind] = int(number)
        elif word in ("beginning", "end"):
            start = word
        elif word.removeprefix("-").isdecimal():
            start = int(word)
        else:
            raise UsageError(f"-o {word!r}: use beginning, end, 42, -10, s@MS or e@MS")
    if "e" in times and "s" not in times and start == "end":
        start = "beginning"  # up to a time, from the end on, would be nothing
    return Span(start, times.get("s"), times.get("e"))


def ranges(consumer: Any, places: Sequence[TopicPartition], span: Span) -> dict[int, Range]:
    """The offsets to read by partition; raises KafkaException."""
    marks: dict[int, tuple[int, int]] = {
        place.partition: consumer.get_watermark_offsets(place, LIMIT) for place in places
    }
    starts = _at_time(consumer, places, span.start_ms)
    stops = _at_time(consumer, places, span.end_ms)
    found = {}
    for partition, (low, high) in marks.items():
        first = _first(span, low, high) if starts is None else starts.get(partition, high)
        found[partition] = Range(first, None if stops is None else stops.get(partition, high))
    return found


def _first(span: Span, low: int, high: int) -> int:
    if span.start == "beginning":
        return low
    if isinstance(span.start, str):
        return high
    wanted = span.start + high if span.start < 0 else span.start
    return min(max(low, wanted), high)


def _at_time(
    consumer: Any, places: Sequence[TopicPartition], milliseconds: int | None
) -> dict[int, int] | None:
    """The first offset at or after a time by partition, without those that have none."""
    if milliseconds is None:
        return None
    asked = [TopicPartition(each.topic, each.partition, milliseconds) for each in places]
    answered = consumer.offsets_for_times(asked, LIMIT)
    return {each.partition: each.offset for each in answered if each.offset >= 0}
