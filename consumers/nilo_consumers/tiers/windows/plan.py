"""Which windows go: those past their days, where longer ones that stay stand in. Pure.

The windows of a day, a length and a metric go together or not at all. They go when windows of one
longer length stay, and one of these, of the same dimensions, holds the beginning of each.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta

from nilo_consumers.tiers.windows.keep import Keep, fixed_window
from nilo_schemas.windows import Window

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAY = timedelta(days=1)
Key = tuple[date, str, str]


@dataclass(frozen=True)
class Group:
    """The windows of a day, a length and a metric, as one moment shows them in a store.

    Args:
        day: the UTC day in which they begin.
        window: their length, as the catalogue writes it.
        metric: whose.
        rows: how many, every revision of each.
        ends: by partition of the topic, the offset behind the last of them.
    """

    day: date
    window: str
    metric: str
    rows: int
    ends: Mapping[int, int]

    @property
    def key(self) -> Key:
        """What tells it from others."""
        return self.day, self.window, self.metric


@dataclass(frozen=True)
class Question:
    """Whether each window of a day, a length and a metric begins in a longer one that is there.

    Args:
        day: of the shorter windows.
        window: their length.
        metrics: which are asked for.
        longer: the longer windows.
    """

    day: date
    window: str
    metrics: tuple[str, ...]
    longer: Window

    @property
    def first_day(self) -> date:
        """The first day in which such a longer window may begin."""
        return _begin(self.longer, datetime(*self.day.timetuple()[:3], tzinfo=UTC)).date()


# The metrics whose windows all begin in a longer one.
Covered = Callable[[Question], set[str]]


@dataclass(frozen=True)
class Removal:
    """Windows of a day and a length that go.

    Args:
        day: in which they begin.
        window: their length, as the catalogue writes it.
        metrics: whose.
        rows: how many.
        ends: by partition of the topic, the offset before which they lie; later ones stay.
    """

    day: date
    window: str
    metrics: tuple[str, ...]
    rows: int
    ends: Mapping[int, int]


def removals(
    groups: Iterable[Group], keep: Keep, today: date, covered: Covered
) -> dict[date, list[Removal]]:
    """What goes of a store by today, by day, oldest first and shortest windows first.

    Args:
        groups: all that begin on days before the last that `keep` may let go.
        keep: for how long windows stay.
        today: in UTC.
        covered: looks into the store.

    Raises:
        StoreError: what `covered` raises.
    """
    known = {each.key: each for each in groups}
    together: dict[tuple[date, str], list[Group]] = {}
    for key in _going(known, keep, today, covered):
        together.setdefault(key[:2], []).append(known[key])
    found: dict[date, list[Removal]] = {}
    for day, window in sorted(together, key=lambda short: (short[0], _length(short[1]), short[1])):
        found.setdefault(day, []).append(_removal(together[day, window]))
    return found


def _going(
    known: Mapping[Key, Group], keep: Keep, today: date, covered: Covered
) -> dict[Key, None]:
    """Longest first: what goes cannot stand in for others."""
    going: dict[Key, None] = {}
    lengths = _fixed({window for _, window, _ in known})
    due = _due(known, keep, today)
    for day, window in sorted(due, key=lambda short: _length(short[1]), reverse=True):
        some = set(due[day, window])
        if not keep.is_over(day, today):
            left = set(some)
            for longer in (each for each in lengths if each.length > _length(window)):
                asked = Question(day, window, tuple(sorted(left)), longer)
                if staying := tuple(m for m in asked.metrics if _stays(known, going, asked, m)):
                    left -= covered(replace(asked, metrics=staying))
            some -= left
        going |= dict.fromkeys((day, window, metric) for metric in sorted(some))
    return going


def _due(known: Iterable[Key], keep: Keep, today: date) -> dict[tuple[date, str], list[str]]:
    due: dict[tuple[date, str], list[str]] = {}
    for day, window, metric in known:
        if keep.is_due(window, day, today):
            due.setdefault((day, window), []).append(metric)
    return due


def _stays(known: Collection[Key], going: Collection[Key], asked: Question, metric: str) -> bool:
    """Whether there are longer windows, on all days that matter, and none of them goes."""
    keys = [(day, asked.longer.text, metric) for day in _days(asked.first_day, asked.day)]
    return any(key in known for key in keys) and not any(key in going for key in keys)


def _fixed(names: Iterable[str]) -> list[Window]:
    """The windows of fixed lengths among the names, longest first."""
    found = [each for name in names if (each := fixed_window(name)) is not None]
    return sorted(found, key=lambda each: (each.length, each.text), reverse=True)


def _length(window: str) -> timedelta:
    fixed = fixed_window(window)
    return fixed.length if fixed else timedelta.max


def _begin(window: Window, moment: datetime) -> datetime:
    """When the window began that holds a moment; of several the last."""
    return moment - (moment - _EPOCH) % window.hop


def _days(first: date, last: date) -> Iterator[date]:
    return (first + number * _DAY for number in range((last - first).days + 1))


def _removal(groups: list[Group]) -> Removal:
    ends: dict[int, int] = {}
    for each in groups:
        for partition, end in each.ends.items():
            ends[partition] = max(end, ends.get(partition, 0))
    first = groups[0]
    return Removal(
        first.day, first.window, tuple(sorted(each.metric for each in groups)),
        sum(each.rows for each in groups), ends,
    )  # fmt: skip
