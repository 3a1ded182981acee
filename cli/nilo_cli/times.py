"""Times on the command line: now, an ISO time, or a span such as 1h before now."""

# ruff: noqa: PLC0415  the catalogue brings all models

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from nilo_cli.errors import UsageError

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def parse_time(text: str, now: datetime) -> datetime:
    """The time that a text means; without a zone it is UTC. Raises UsageError."""
    from nilo_schemas.catalogue import window_length

    if text == "now":
        return now
    try:
        return now - window_length(text)
    except (ValueError, OverflowError):
        pass  # not a span, so perhaps a time
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(
            f"{text!r} is no time: use now, 1h (before now) or 2025-06-01T12:00:00Z"
        ) from None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def microseconds(time: datetime) -> int:
    """Since 1970."""
    return (time - _EPOCH) // _MICROSECOND


def time_of(since_1970: int) -> datetime:
    """The time of so many microseconds since 1970, in UTC."""
    return _EPOCH + since_1970 * _MICROSECOND
