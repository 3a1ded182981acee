"""`nilo alerts why-not`: why a rule is silent about a series."""

# ruff: noqa: PLC0415  models, the engine and clients are imported by the command that uses them

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from nilo_cli.context import settings_of
from nilo_cli.output import Json, console, print_json, wants_json
from nilo_cli.times import parse_time

if TYPE_CHECKING:
    from nilo_cli.rerun.slices import Wanted
    from nilo_cli.rerun.trial import Standing, Trial
    from nilo_cli.why_not.page import Answer
    from nilo_cli.why_not.reasons import Said
    from nilo_schemas.settings import Settings

# As long as Kafka keeps windows unless told otherwise; of what it keeps longer all is read.
_KEPT = timedelta(days=7)


class Store(StrEnum):
    """Where the windows are read."""

    KAFKA = "kafka"
    POSTGRES = "postgres"
    PARQUET = "parquet"


def why_not(
    ctx: typer.Context,
    rule: Annotated[str, typer.Argument(help="Its name, such as LlmSlow.")],
    *,
    key: Annotated[
        list[str] | None,
        typer.Option(metavar="LABEL=VALUE", help="The series; repeatable, or a=b,c=d."),
    ] = None,
    at: Annotated[str, typer.Option(help="now, 1h (before now), or an ISO time.")] = "now",
    store: Annotated[Store, typer.Option("--from", help="Where windows are read.")] = Store.KAFKA,
    as_json: Json = False,
) -> None:
    """Tell why a rule is silent about a series, or that it is not.

    The rule is run once more on the windows up to that time, exactly as the processors ran it:
    pending, silenced, inhibited, no data, not seen enough, late, or simply not met. Labels that
    are not given must follow from those that are.

    \b
    Example:
      nilo alerts why-not LlmSlow --key model=atlas
      nilo alerts why-not LlmSlow --key provider=acme,model=atlas --at 2025-06-01T12:00:00Z
    """
    now = datetime.now(UTC)
    answer = _answer(settings_of(ctx), rule, key or [], parse_time(at, now), store.value)
    if wants_json(as_json):
        print_json(answer.as_json())
        return
    from nilo_cli.why_not.page import show

    show(answer, console())


def _answer(settings: Settings, name: str, given: list[str], at: datetime, store: str) -> Answer:
    from nilo_cli.rerun.slices import Wanted
    from nilo_cli.rerun.trial import Trial
    from nilo_cli.why_not.asked import key_of, pairs_of, rule_of
    from nilo_cli.why_not.page import Answer
    from nilo_cli.why_not.reasons import reasons
    from nilo_schemas.catalogue_files import load_catalogue

    catalogue = load_catalogue(settings.catalogue)
    rule = rule_of(catalogue, name, settings.catalogue)
    trial = Trial(catalogue, rule, {})
    pairs = pairs_of(rule, trial.labels, given)
    trial = Trial(catalogue, rule, pairs)
    wanted = Wanted(trial.windows, at - _KEPT, at, pairs)
    _fill(settings, trial, store, wanted)
    standing = _standing(settings, trial, key_of(trial, pairs), at)
    return Answer(standing, reasons(standing, _said(settings, standing, at)), at)


def _fill(settings: Settings, trial: Trial, store: str, wanted: Wanted) -> None:
    """Take in the windows of the series; when a store has none of it, those of others."""
    from dataclasses import replace

    from nilo_cli.rerun.slices import SLICE, slices

    for each in slices(settings, store, wanted):
        trial.take(each.rows)
    if not trial.matching and wanted.labels:
        for each in slices(settings, store, replace(wanted, since=wanted.until - SLICE, labels={})):
            trial.take(each.rows)


def _standing(settings: Settings, trial: Trial, key: str, at: datetime) -> Standing:
    """Where the rule stood, as far as time had come for the events."""
    from nilo_cli.rerun.clock import clock_of
    from nilo_cli.times import microseconds

    clock = max(trial.reached, clock_of(settings, trial.family))
    return trial.standing(key, min(microseconds(at), clock))


def _said(settings: Settings, standing: Standing, at: datetime) -> Said:
    from nilo_cli.alerts_board import board_of
    from nilo_cli.why.found import active_at, published
    from nilo_cli.why_not.reasons import Said
    from nilo_schemas.alerts import fingerprint_of

    known = [alert for alert in published(settings) if alert.time <= at]
    fingerprint = fingerprint_of(standing.rule.name, standing.key)
    mine = [alert for alert in known if alert.fingerprint == fingerprint]
    with board_of(settings) as board:
        silences = dict(board.silences)
    return Said(at, mine, active_at(known, at), silences)
