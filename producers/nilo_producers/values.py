"""A file's values to the values of fields: durations, points in time, figures of a text."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any
from zoneinfo import ZoneInfo

from nilo_producers.errors import MappingError

Convert = Callable[[Any], Any]
MICROSECONDS = {
    "s": Decimal(1_000_000),
    "ms": Decimal(1_000),
    "us": Decimal(1),
    "ns": Decimal("0.001"),
}
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def to_duration(value: Any, unit: str) -> timedelta:
    """So many units, to the nearest microsecond; raises ValueError for what is no number."""
    if isinstance(value, timedelta):
        return value
    return timedelta(microseconds=round(_number(value) * MICROSECONDS[unit]))


def _number(value: Any) -> Decimal:
    # By way of the text, as a float's binary tail is not in the file.
    try:
        number = Decimal(value if isinstance(value, int) else str(value))
    except InvalidOperation:
        raise ValueError(f"{value!r} is not a number") from None
    if not number.is_finite():
        raise ValueError(f"{value!r} is not a finite number")
    return number


def to_time(value: Any) -> datetime:
    """A time with a zone, or ISO 8601 text with one; raises ValueError for anything else."""
    time = _datetime(value)
    if time.tzinfo is None:
        raise ValueError(
            f"{value} has no time zone: name the one it is in, as in time=column:UTC or "
            "time=column:America/New_York"
        )
    return time


def in_zone(zone: ZoneInfo) -> Convert:
    """Reads local times of a zone; the hour that comes twice in autumn counts as its first."""

    def convert(value: Any) -> datetime:
        time = _datetime(value)
        return time.replace(tzinfo=zone) if time.tzinfo is None else time

    return convert


def _datetime(value: Any) -> datetime:
    if isinstance(value, datetime):
        return value
    if isinstance(value, str):
        return datetime.fromisoformat(value.strip())
    raise ValueError(
        f"{value!r} is not a date and time: name its unit, as in time=column:ms (since 1970)"
    )


def since(begin: datetime, unit: str) -> Convert:
    """Reads times as so many units after `begin`."""
    return lambda value: begin + to_duration(value, unit)


def zone(name: str) -> ZoneInfo:
    """The time zone of a name; raises MappingError when there is none."""
    try:
        return ZoneInfo(name)
    except (LookupError, ValueError, OSError):
        raise MappingError(
            f"{name!r} is neither a unit of time (s, ms, us, ns since 1970; +s, +ms, +us, +ns "
            "since the start) nor a time zone such as UTC or America/New_York"
        ) from None


def length(value: Any) -> int:
    """Characters of a text, or entries of a list."""
    return len(value if isinstance(value, list) else str(value))


def sha256(value: Any) -> str:
    """SHA-256 of a text, lower-case hex."""
    return hashlib.sha256(str(value).encode()).hexdigest()


def first_word(value: Any) -> str | None:
    """The first word of a text, None for blank text."""
    return next(iter(str(value).split()), None)


OF_TEXT: dict[str, Convert] = {"length": length, "sha256": sha256, "word": first_word}
