"""What `nilo alerts why-not` is asked: a rule of the catalogue, a series, a time."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path

from nilo_cli.errors import UsageError
from nilo_cli.rerun.trial import Trial
from nilo_schemas.catalogue import Catalogue
from nilo_schemas.catalogue_files import disabled_rules
from nilo_schemas.rules import Rule
from nilo_stream_processors.engine.detect.wording import labelled
from nilo_stream_processors.engine.series import OTHER

_NEXT = re.compile(r",(?=[\w.]+=)")
_SHOWN = 10  # series


def rule_of(catalogue: Catalogue, name: str, folder: Path | None) -> Rule:
    """The rule of a name; raises UsageError when there is none in force."""
    if name in catalogue.rules:
        return catalogue.rules[name]
    known = ", ".join(sorted(catalogue.rules)) or "none"
    if name in disabled_rules(folder):
        raise UsageError(f"rule {name} is disabled (`enabled: false`); in force: {known}")
    near = get_close_matches(name, catalogue.rules, 1)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise UsageError(f"no rule is called {name!r}{hint} In force: {known}")


def pairs_of(rule: Rule, labels: Sequence[str], given: Iterable[str]) -> dict[str, str]:
    """The labels asked for, of `a=b,c=d` and `e=f`; raises UsageError."""
    pairs: dict[str, str] = {}
    for text in (each for some in given for each in _NEXT.split(some)):
        name, equals, value = text.partition("=")
        if not equals or name not in labels:
            known = ", ".join(labels) or "none: it has one series"
            raise UsageError(f"--key {text!r}: the series of {rule.name} have the labels {known}")
        pairs[name] = value
    return pairs


def key_of(trial: Trial, pairs: dict[str, str]) -> str:
    """The one key that is meant.

    Raises:
        UsageError: there is none, or there are several.
    """
    keys = sorted(trial.matching)
    if len(keys) == 1:
        return keys[0]
    rule = trial.rule
    if keys:
        several = _listed(trial, keys)
        raise UsageError(f"{len(keys)} series of {rule.name} match, name one by --key: {several}")
    if not trial.keys:
        raise UsageError(
            f"{rule.metric} has no final windows up to then: `nilo windows {rule.metric}` shows "
            "those that are stored, `nilo status` whether the processors run"
        )
    asked = labelled(pairs)
    raise UsageError(f"no series of {rule.metric} has {asked}{_near(trial, asked)}")


def _near(trial: Trial, asked: str) -> str:
    told = {labelled(trial.named(key)): key for key in trial.keys}
    near = get_close_matches(asked, told, _SHOWN, 0.4) or sorted(told)[:_SHOWN]
    capped = any(OTHER in trial.named(key).values() for key in trial.keys)
    beyond = (
        f"; it may be one of those beyond max_series, which count as {OTHER} (capped)"
        if capped
        else ""
    )
    return f"{beyond}; near ones: {'; '.join(near)}"


def _listed(trial: Trial, keys: Sequence[str]) -> str:
    more = f" and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else ""
    return "; ".join(labelled(trial.named(key)) for key in keys[:_SHOWN]) + more
