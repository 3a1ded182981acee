"""The texts by which the catalogue names windows: `1m`, `5m/1m`, `session 5m`."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Literal, NamedTuple

_LENGTH = re.compile(r"([1-9][0-9]*)([smhd])")
_SESSION = "session "
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
