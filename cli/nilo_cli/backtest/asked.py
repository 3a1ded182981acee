"""What `nilo replay backtest` is asked, and the windows that it takes for that."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from nilo_cli.backtest.figures import Range, figures
from nilo_cli.backtest.incidents import Incident
from nilo_cli.backtest.report import Outcome
from nilo_cli.backtest.run import Backtest, Version
from nilo_cli.backtest.score import scored
from nilo_cli.errors import NoWindowsError, UsageError
from nilo_cli.rerun.slices import Wanted, slices
from nilo_cli.times import microseconds
from nilo_schemas.catalogue import Catalogue
from nilo_schemas.rules import Rule
from nilo_schemas.settings import Settings

_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True)
class Asked:
    """Over which time, from which store, against which incidents.

    Attributes:
        since: windows that end later are in the range, up to `until`.
        warm_up: so much before it is looked at as well, for the rules to learn from.
        incidents: None where none are labelled.
        slack: so long before and after an incident it may be met as well.
    """

    since: datetime
    until: datetime
    warm_up: timedelta
    store: str
    incidents: Sequence[Incident] | None
    slack: timedelta

    @property
    def days(self) -> float:
        """The length of the range."""
        return (self.until - self.since) / timedelta(days=1)


def chosen(rules: Sequence[Rule], name: str | None) -> list[Rule]:
    """The rules of this name, or all of them without one; raises UsageError."""
    if name is None:
        return list(rules)
    found = [rule for rule in rules if rule.name == name]
    if not found:
        known = ", ".join(rule.name for rule in rules)
        raise UsageError(f"--rule {name}: the file has {known}")
    return found


def tested(
    settings: Settings,
    catalogue: Catalogue,
    rules: Sequence[Rule],
    asked: Asked,
    progress: Callable[[int, int | None], None] | None,
) -> dict[str, Outcome]:
    """Run rules on the windows of the range, which are read once: the outcome by hash of the rule.

    Args:
        settings: where the store is.
        catalogue: whose metrics the rules look at.
        rules: versions, several of one name too.
        asked: the range, the store and the incidents.
        progress: is told how many days have been read, and of how many.

    Raises:
        NoWindowsError: the store has none of these in the range.
        UnreachableError: no broker answers.
        StoreUnavailableError: the store does not answer.
    """
    since = microseconds(asked.since)
    test = Backtest(catalogue, rules, since, settings.series_cap, settings.partitions)
    begin = asked.since - asked.warm_up
    days = (asked.until - begin) // timedelta(days=1)
    for each in slices(settings, asked.store, Wanted(test.kinds, begin, asked.until)):
        test.take(each.rows, each.safe)
        if progress:
            done = (each.safe - microseconds(begin)) // (timedelta(days=1) // _MICROSECOND)
            progress(min(max(done, 0), days), days)
    test.finish()
    found = {name: _outcome(version, asked, test.last) for name, version in test.versions.items()}
    if not any(outcome.version.seen.windows for outcome in found.values()):
        raise _nothing(test, asked)
    return found


def _outcome(version: Version, asked: Asked, last: int) -> Outcome:
    within = Range(microseconds(asked.since), version.seen.first, last)
    episodes = version.episodes.found
    score = None
    if asked.incidents is not None:
        live = [each for each in episodes if each.end > within.since]
        score = scored(live, asked.incidents, within, asked.slack // _MICROSECOND)
    return Outcome(version, within, figures(episodes, within, version.hop), score)


def _nothing(test: Backtest, asked: Asked) -> NoWindowsError:
    kinds = ", ".join(f"{metric} ({window})" for metric, window in sorted(test.kinds))
    first = sorted(test.kinds)[0][0]
    return NoWindowsError(
        f"{asked.store} has no final windows of {kinds} from {asked.since:%Y-%m-%d %H:%M} to "
        f"{asked.until:%Y-%m-%d %H:%M}: `nilo windows {first}` shows what is stored; --store names "
        "another place, --from and --to another time"
    )
