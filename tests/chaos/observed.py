"""What the processors published: final windows by revision, and dead letters."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from nilo_schemas.results import MetricWindow
from nilo_schemas.settings import Settings
from tests.chaos.expected import WindowKey, to_microseconds
from tests.chaos.reading import Decoder, TopicReader, Values

# Tells how far the world was when the window was published, and not what the window holds.
NOT_CONTENT = ("watermark",)


@dataclass
class Published:
    """One window: the newest final revision, and when it first became final (ms since 1970)."""

    final: Values | None = None
    final_since_ms: int = 0
    revisions: dict[int, Values] = field(default_factory=dict)

    @property
    def revision(self) -> int:
        """The newest final revision; -1 before there is one."""
        return max(self.revisions, default=-1)


class Observed:
    """Reads `metrics.windows` as it grows."""

    def __init__(self, settings: Settings) -> None:
        self._reader = TopicReader(settings, MetricWindow.kafka_topic)
        self._decode = Decoder(settings)
        self.windows: dict[WindowKey, Published] = {}
        self.conflicts: list[str] = []
        self.counts: Counter[str] = Counter()

    def read_on(self) -> int:
        """Take in what is new; return how many messages that were."""
        before = self.counts["messages"]
        for message in self._reader.news():
            value, stamp = message.value(), message.timestamp()
            assert value is not None
            self._take(self._decode(value), stamp[1])
        return self.counts["messages"] - before

    def _take(self, window: Values, milliseconds: int) -> None:
        self.counts["messages"] += 1
        key = key_of(window)
        held = self.windows.setdefault(key, Published())
        revision, newest = window["revision"], held.revision
        if not window["final"]:
            # A worker that was thought dead may say what it still has: no harm, but worth a count.
            self.counts["provisional_after_final"] += newest >= revision
            return
        if held.final is None:
            held.final_since_ms = milliseconds
        self.counts["again"] += revision in held.revisions
        content = {name: value for name, value in window.items() if name not in NOT_CONTENT}
        known = held.revisions.setdefault(revision, content)
        if known != content:
            self.conflicts.append(f"{key} revision {revision}: {_changes(known, content)}")
        self.counts["older_after_newer"] += revision < newest
        if revision >= newest:
            held.final = window

    def newest_final(self) -> dict[WindowKey, Values]:
        """The newest revision of each final window."""
        return {key: held.final for key, held in self.windows.items() if held.final is not None}

    def last_became_final_ms(self) -> int:
        """When the last window first became final (ms since 1970)."""
        return max((held.final_since_ms for held in self.windows.values()), default=0)

    def close(self) -> None:
        """Leave the brokers."""
        self._reader.close()


def _changes(before: Values, after: Values) -> str:
    """What differs, without the histogram: that is long, and the quantiles tell."""
    names = [name for name in before if before[name] != after[name] and name != "histogram"]
    return ", ".join(f"{name} was {before[name]} and is {after[name]}" for name in names)


def key_of(window: Values) -> WindowKey:
    """Which window a message is of."""
    return WindowKey(
        window["metric"],
        window["window"],
        to_microseconds(window["window_start"]),
        tuple(sorted(window["dimensions"].items())),
    )


def dead_letters(settings: Settings, topic: str) -> Counter[tuple[str, int, int]]:
    """How often each message is among the dead letters: reason, partition, offset."""
    reader, found = TopicReader(settings, f"dlq.{topic}"), Counter[tuple[str, int, int]]()
    for message in reader.news():
        headers: dict[str, Any] = dict(message.headers() or [])
        place = (headers[f"__connect.errors.{name}"] for name in ("partition", "offset"))
        partition, offset = (int(value) for value in place)
        found[headers["x-nilo-error-code"].decode(), partition, offset] += 1
    reader.close()
    return found
