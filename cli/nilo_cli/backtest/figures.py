"""What the episodes of a rule come to: firings, pages a day, flaps, time. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from nilo_cli.rerun.episodes import Episode
from nilo_stream_processors.engine.detect.life import FLAP_SPAN

_DAY = 86_400_000_000
_NOISIEST = 5


@dataclass(frozen=True)
class Range:
    """The time that a rule is tested over, µs since 1970.

    Attributes:
        since: what fires later counts.
        first: when the first window that it looked at in the range began; 0 without one.
        last: up to when was looked.
    """

    since: int
    first: int
    last: int

    @property
    def covered(self) -> tuple[int, int]:
        """The part of it of which there were windows."""
        return (max(self.since, self.first), self.last) if self.first else (self.last, self.last)

    @property
    def days(self) -> float:
        """The length of that part."""
        first, last = self.covered
        return (last - first) / _DAY


@dataclass(frozen=True)
class Noise:
    """How often a series fired, and for how long, µs."""

    series: str
    firings: int
    time: int


@dataclass(frozen=True)
class Figures:
    """Figures of the episodes that began to fire in a range.

    Attributes:
        days: over how many days there were windows.
        firings: these episodes; each is one page.
        flaps: those that fired again within FLAP_SPAN windows of the firing before of their series.
        held: those that the processors held as flapping.
        carried: episodes that fired before and lasted into the range.
        time: for how long series fired in the range, added up, carried ones too; µs.
        longest: episode, µs.
        median: of the episodes' lengths, µs; None without one.
        noisiest: the series that fired most often, then longest; at most five.
    """

    days: float
    firings: int
    flaps: int
    held: int
    carried: int
    time: int
    longest: int
    median: float | None
    noisiest: list[Noise]

    @property
    def pages_per_day(self) -> float | None:
        """Firings a day; None when the range has no length."""
        return self.firings / self.days if self.days else None


def figures(episodes: Sequence[Episode], within: Range, hop: int) -> Figures:
    """Reckon the figures.

    Args:
        episodes: of one rule; those that were over before the range only tell what is a flap.
        within: the range.
        hop: from the end of one window to that of the next, µs.
    """
    since = within.since
    fired = [each for each in episodes if each.fired > since]
    carried = [each for each in episodes if each.fired <= since < each.end]
    lengths = [each.end - each.fired for each in fired]
    return Figures(
        days=within.days,
        firings=len(fired),
        flaps=sum(each.fired > since for each in _again(episodes, FLAP_SPAN * hop)),
        held=sum(each.held for each in fired),
        carried=len(carried),
        time=sum(lengths) + sum(each.end - since for each in carried),
        longest=max(lengths, default=0),
        median=median(lengths) if lengths else None,
        noisiest=_noisiest(fired),
    )


def _again(episodes: Sequence[Episode], span: int) -> list[Episode]:
    """Those that fired so soon after the firing before of the same series."""
    ordered = sorted(episodes, key=lambda each: (each.series, each.fired))
    return [
        each
        for before, each in pairwise(ordered)
        if before.series == each.series and each.fired - before.fired < span
    ]


def _noisiest(fired: Sequence[Episode]) -> list[Noise]:
    sums: dict[str, tuple[int, int]] = {}
    for each in fired:
        count, time = sums.get(each.series, (0, 0))
        sums[each.series] = count + 1, time + each.end - each.fired
    found = [Noise(series, *counted) for series, counted in sums.items()]
    return sorted(found, key=lambda each: (-each.firings, -each.time, each.series))[:_NOISIEST]
