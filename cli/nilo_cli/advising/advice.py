"""What to change about rules and metrics, with the figures that say so."""

from __future__ import annotations

from collections.abc import Iterator

from nilo_cli.advising.finding import Advice
from nilo_cli.advising.metrics import costs, most_series
from nilo_cli.advising.rules import firing, flapping, never, undocumented
from nilo_cli.advising.week import Week


def advice_of(week: Week) -> Iterator[Advice]:
    """All advice: on the rules, on what the metrics cost, on what nobody has written down."""
    rules = list(week.rules.values())
    seen = [rule for rule in rules if rule.listener.judged]
    found = [firing(rule, week) for rule in seen]
    found += [flapping(rule, week) for rule in seen]
    found += [never(rule, week) for rule in rules if not rule.episodes]
    yield from (each for each in found if each)
    yield from costs(week)
    yield from most_series(week)
    yield from (each for each in (undocumented(rule.rule) for rule in rules) if each)
