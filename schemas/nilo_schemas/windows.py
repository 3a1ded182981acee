"""The texts by which windows are named: `1m`, `5m/1m`, `session 5m`; how long each is kept."""

from __future__ import annotations

import re
from datetime import timedelta
from itertools import pairwise
from operator import itemgetter
from typing import Literal, NamedTuple

_LENGTH = re.compile(r"([1-9][0-9]*)([smhd])")
_SESSION = "session "
_KEEP_LIMIT = 36_500  # days
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


class Window(NamedTuple):
    """A kind of window, as the catalogue names it.

    `length` is that of the window, for a session the gap that ends it; `hop` is how far the next
    window begins behind the one before. For tumbling windows and sessions it is the length.
    """

    text: str
    kind: Literal["tumbling", "hopping", "session"]
    length: timedelta
    hop: timedelta

    @property
    def shape(self) -> tuple[str, timedelta, timedelta]:
        """All but the text: `60s` and `1m` have one shape."""
        return self[1:]


def parse_window(text: str) -> Window:
    """The window that a text means; raises ValueError.

    `1m` is tumbling, `5m/1m` five minutes long and begun every minute, `session 5m` ends when
    a series has had no event for more than five minutes.
    """
    if text.startswith(_SESSION):
        gap = window_length(text.removeprefix(_SESSION))
        return Window(text, "session", gap, gap)
    if "/" not in text:
        length = window_length(text)
        return Window(text, "tumbling", length, length)
    length, hop = map(window_length, text.split("/", 1))
    if hop >= length or length % hop:
        raise ValueError(f"window {text!r}: the hop must be shorter than the length and divide it")
    return Window(text, "hopping", length, hop)


def window_length(text: str) -> timedelta:
    """The length of time that `10s`, `1m`, `1h` or `1d` names; raises ValueError."""
    match = _LENGTH.fullmatch(text)
    if not match:
        raise ValueError(
            f"window {text!r} is not a whole number of s, m, h or d: "
            "write 10s, 5m/1m (length/hop) or session 5m (gap)"
        )
    try:
        return timedelta(seconds=int(match[1]) * _SECONDS[match[2]])
    except OverflowError:
        raise ValueError(f"window {text!r} is too long") from None


def parse_keep(text: str) -> dict[timedelta, int]:
    """By length of windows, shortest first, the days that `1m=7,1h=90` keeps them.

    Raises:
        ValueError: a pair is none, a length comes twice, or a longer one has fewer days.
    """
    pairs = sorted((_keep_pair(pair.strip()) for pair in text.split(",")), key=itemgetter(0))
    for (shorter, name, least), (longer, other, days) in pairwise(pairs):
        if longer == shorter:
            raise ValueError(f"{name} and {other} are one length: name it once")
        if days < least:
            raise ValueError(
                f"{other}={days} is fewer days than {name}={least}: windows of {other} stand in "
                f"for those of {name}, so write {other}={least} or more"
            )
    return {length: days for length, _, days in pairs}


def _keep_pair(pair: str) -> tuple[timedelta, str, int]:
    name, _, days = pair.partition("=")
    length = window_length(name)
    if not re.fullmatch(r"[0-9]{1,5}", days) or not 1 <= int(days) <= _KEEP_LIMIT:
        raise ValueError(f"{pair!r}: write a length and 1 to {_KEEP_LIMIT} days, as in {name}=7")
    return length, name, int(days)
