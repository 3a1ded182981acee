"""`nilo replay backtest` from its options to what it prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nilo_cli.backtest.asked import Asked, chosen, tested
from nilo_cli.backtest.incidents import Incidents, read_incidents
from nilo_cli.backtest.page import show
from nilo_cli.backtest.report import Outcome
from nilo_cli.backtest.sweep import axis_of, points_of
from nilo_cli.backtest.swept import Swept, chart_of
from nilo_cli.errors import UsageError
from nilo_cli.output import console, print_json, printable, progress, show_rows, wants_json
from nilo_schemas.catalogue import Catalogue
from nilo_schemas.catalogue_files import load_rules
from nilo_schemas.rule_checks import labels_of
from nilo_schemas.rules import Rule
from nilo_schemas.settings import Settings

_AXES = 2


@dataclass(frozen=True)
class Given:
    """The rules of the file and the incidents, read and checked."""

    settings: Settings
    catalogue: Catalogue
    rules: Sequence[Rule]
    incidents: Incidents | None


def given(settings: Settings, file: Path, name: str | None, incidents: Path | None) -> Given:
    """Read the files.

    Raises:
        CatalogueError: the rules are refused.
        UsageError: there is no such rule, or the incidents are refused.
    """
    catalogue, rules = load_rules(file, settings.catalogue)
    rules = chosen(rules, name)
    labels = {label for rule in rules for label in labels_of(rule, catalogue.metrics)}
    found = read_incidents(incidents, sorted(labels)) if incidents else None
    return Given(settings, catalogue, rules, found)


def report(given: Given, asked: Asked, *, as_json: bool) -> None:
    """Run the rules of the file and those of the same names in the catalogue; print both."""
    pairs = [(rule, given.catalogue.rules.get(rule.name)) for rule in given.rules]
    outcomes = _tested(given, asked, [each for pair in pairs for each in pair if each])
    if wants_json(as_json):
        print_json(_head(given, asked) | {"rules": [_pair_json(*pair, outcomes) for pair in pairs]})
        return
    for pair in pairs:
        show(_columns(*pair, outcomes), asked.days, console())
    _tell_ignored(given)


def sweep(
    given: Given, asked: Asked, texts: Sequence[str], plot: Path | None, *, as_json: bool
) -> None:
    """Run the rule with each of the values; print a line for each, and draw them."""
    if not 1 <= len(texts) <= _AXES:
        raise UsageError("--sweep is given once or twice; --plot draws a sweep")
    if len(given.rules) > 1:
        names = ", ".join(rule.name for rule in given.rules)
        raise UsageError(f"a sweep is of one rule: choose by --rule one of {names}")
    if plot:
        _check_plot(plot)
    rule, axes = given.rules[0], [axis_of(text) for text in texts]
    points = points_of(rule, axes, given.catalogue.metrics)
    swept = Swept(rule, axes, points, _tested(given, asked, [point.rule for point in points]))
    if wants_json(as_json):
        print_json(_head(given, asked) | swept.as_json())
    else:
        show_rows(map(swept.row, points), swept.columns, as_json=False)
        _tell_ignored(given)
    if plot:
        chart_of(swept).write(plot)


def _tested(given: Given, asked: Asked, rules: Sequence[Rule]) -> Mapping[str, Outcome]:
    with progress("reading windows", "days") as told:
        return tested(given.settings, given.catalogue, rules, asked, told)


def _check_plot(path: Path) -> None:
    """Refuse before the windows are read what could not be drawn or written afterwards."""
    from nilo_cli.charts import format_of  # noqa: PLC0415  matplotlib is an extra

    format_of(path)
    if not path.parent.is_dir():
        raise UsageError(f"{path}: there is no folder {path.parent}")


def _columns(
    new: Rule, old: Rule | None, outcomes: Mapping[str, Outcome]
) -> list[tuple[str, Outcome]]:
    if old is None:
        return [("new", outcomes[new.hash])]
    if old.hash == new.hash:
        return [("as in the catalogue", outcomes[new.hash])]
    return [("catalogue", outcomes[old.hash]), ("new", outcomes[new.hash])]


def _pair_json(new: Rule, old: Rule | None, outcomes: Mapping[str, Outcome]) -> dict[str, Any]:
    return {
        "rule": new.name,
        "new": outcomes[new.hash].as_json(),
        "catalogue": old and outcomes[old.hash].as_json(),
    }


def _head(given: Given, asked: Asked) -> dict[str, Any]:
    """What all of the figures are about."""
    return {
        "from": asked.since.isoformat(),
        "to": asked.until.isoformat(),
        "store": asked.store,
        "warm_up_seconds": asked.warm_up.total_seconds(),
        "slack_seconds": asked.slack.total_seconds(),
        "ignored_columns": given.incidents.ignored if given.incidents else [],
    }


def _tell_ignored(given: Given) -> None:
    if given.incidents and given.incidents.ignored:
        names = ", ".join(map(printable, given.incidents.ignored))
        console().print(
            f"  no label of the rule, not looked at: {names}", style="dim", markup=False
        )
