"""`nilo alerts why`: the arithmetic of an alert, its events, and what they came from."""

# ruff: noqa: PLC0415  models, the engine and clients are imported by the command that uses them

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from nilo_cli.context import settings_of
from nilo_cli.errors import UsageError
from nilo_cli.output import Json, console, print_json, wants_json

if TYPE_CHECKING:
    from nilo_cli.why.account import Account
    from nilo_schemas.settings import Settings


def why(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="ID", help="Of an alert, or its fingerprint.")],
    *,
    events: Annotated[
        int, typer.Option("--events", min=1, help="Show so many of its events.")
    ] = 10,
    back: Annotated[str, typer.Option(help="Look for causes so long before the alert.")] = "15m",
    as_json: Json = False,
) -> None:
    """Show how an alert came about, and what caused it.

    The arithmetic, and the raw events at the offsets that the alert names: from Kafka, or when
    Kafka has deleted them from PostgreSQL or the lake. From these it goes up by causation_id,
    parent_span_id and trace_id through all event families, to the earliest one that is an error
    or part of another alert. A fingerprint stands for the newest transition of its alert.

    \b
    Example:
      nilo alerts why 5c1f0a2b9d3e4f67
      nilo alerts why 5c1f0a2b9d3e4f67 --events 50 --back 1h --json
    """
    from nilo_schemas.windows import window_length

    try:
        length = window_length(back)
    except ValueError:
        raise UsageError(f"--back {back!r}: write a length of time such as 15m or 1h") from None
    account = _account(settings_of(ctx), name, events, length)
    if wants_json(as_json):
        print_json(account.as_json())
        return
    from nilo_cli.why.page import show

    show(account, console())


def _account(settings: Settings, name: str, events: int, back: timedelta) -> Account:
    from nilo_cli.why.account import Account, rule_in_force, runbook_lines
    from nilo_cli.why.evidence import gather
    from nilo_cli.why.found import find
    from nilo_cli.why.upstream import trace_back
    from nilo_schemas.catalogue_files import load_catalogue

    catalogue = load_catalogue(settings.catalogue)
    found = find(settings, name)
    evidence = gather(settings, catalogue, found.alert, events)
    upstream = trace_back(
        settings, catalogue, found.alert, evidence.events, published=found.published, back=back
    )
    return Account(
        found.alert,
        found.where,
        rule_in_force(found.alert, catalogue),
        evidence,
        upstream,
        runbook_lines(found.alert.runbook, settings.catalogue),
    )
