"""`nilo alerts`: what detection has found, and what is said of it."""

# ruff: noqa: PLC0415  models and clients are imported by the command that uses them

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Annotated

import typer

from nilo_cli import alerts_said, alerts_why, alerts_why_not
from nilo_cli.context import settings_of
from nilo_cli.errors import UsageError
from nilo_cli.output import Json, print_json, show_rows, wants_json

if TYPE_CHECKING:
    from nilo_cli.tail_format import Seen
    from nilo_consumers.alerts.wanted import Wanted
    from nilo_schemas.alerts import Alert
    from nilo_schemas.settings import Settings

Severity = Annotated[
    list[str] | None, typer.Option(help="Only info, warning or critical (repeatable).")
]
Rule = Annotated[list[str] | None, typer.Option(help="Only alerts of this rule (repeatable).")]
Label = Annotated[
    list[str] | None, typer.Option(metavar="NAME=VALUE", help="Only with this label (repeatable).")
]
app = typer.Typer(help="Alerts: as they come, what is so now, silences.", no_args_is_help=True)
app.command()(alerts_why.why)
app.command(name="why-not")(alerts_why_not.why_not)
app.command()(alerts_said.ack)
app.command()(alerts_said.silence)
app.command()(alerts_said.silences)
app.command()(alerts_said.unsilence)


@app.command()
def tail(
    ctx: typer.Context,
    *,
    severity: Severity = None,
    rule: Rule = None,
    label: Label = None,
    state: Annotated[
        list[str] | None,
        typer.Option(help="Only pending, firing, no_data, resolved … (repeatable)."),
    ] = None,
    offset: Annotated[
        list[str] | None,
        typer.Option("-o", "--offset", help="beginning, end (default), 42, -10, s@MS, e@MS."),
    ] = None,
    count: Annotated[
        int | None, typer.Option("-c", "--count", min=1, help="End after so many alerts.")
    ] = None,
    exit_at_end: Annotated[
        bool, typer.Option("-e", "--exit", help="End when all that is there is shown.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show the transitions of alerts as they come.

    -o, -c and -e as in `nilo tail`.

    \b
    Example:
      nilo alerts tail
      nilo alerts tail --severity critical --label model=atlas -o beginning -e
    """
    from nilo_cli.tail import line_writer, seen_of
    from nilo_cli.tail_offsets import parse_span

    wanted, settings = _wanted(severity, rule, label, state), settings_of(ctx)
    span = parse_span(offset or [])
    found = seen_of(settings, "alerts", span, partition=None, exit_at_end=exit_at_end)
    write = _print_record if wants_json(as_json) else line_writer()
    for each in islice(_those(found, wanted), count):
        write(each)


def _those(found: Iterable[Seen], wanted: Wanted) -> Iterator[Seen]:
    """The alerts that are wanted, and all that does not decode."""
    from nilo_schemas.alerts import Alert

    for seen in found:
        if not isinstance(seen.record, Alert) or wanted(seen.record):
            yield seen


def _print_record(seen: Seen) -> None:
    from nilo_cli.tail_format import as_json

    print_json(seen.payload() or as_json(seen))


@app.command(name="list")
def list_(
    ctx: typer.Context,
    *,
    severity: Severity = None,
    rule: Rule = None,
    label: Label = None,
    pending: Annotated[bool, typer.Option("--pending", help="Pending ones too.")] = False,
    everything: Annotated[
        bool, typer.Option("--all", help="Resolved and inactive ones too.")
    ] = False,
    as_json: Json = False,
) -> None:
    """List what is firing or without data now.

    The gravest first. The last column says who has taken an alert on, and by what it is silenced
    or hidden.

    \b
    Example:
      nilo alerts list
      nilo alerts list --pending --severity critical --json
    """
    from nilo_cli import alert_text
    from nilo_cli.alerts_board import board_of
    from nilo_schemas.alerts import ACTIVE, AlertState

    states = None if everything else ACTIVE | ({AlertState.PENDING} if pending else set())
    wanted, now = _wanted(severity, rule, label, states), datetime.now(UTC)
    with board_of(settings_of(ctx)) as board:
        those = sorted(filter(wanted, board.alerts.values()), key=alert_text.graver)
        found = [(alert, board.suppression(alert, now)) for alert in those]
    if wants_json(as_json):
        for each in found:
            print_json(alert_text.as_json(*each))
    elif found:
        show_rows([alert_text.row(*each) for each in found], alert_text.COLUMNS, as_json=False)
    else:
        print("no alert" + ("" if everything else " is active"), file=sys.stderr)


@app.command()
def show(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="FINGERPRINT", help="Or the id of a transition.")],
    as_json: Json = False,
) -> None:
    """Show everything that is known of an alert.

    Of its newest transition, or of the one with an id.

    \b
    Example:
      nilo alerts show 5c1f0a2b9d3e4f67
      nilo alerts show 5c1f0a2b9d3e4f67-3 --json
    """
    from nilo_cli import alert_text
    from nilo_cli.alerts_board import board_of

    settings = settings_of(ctx)
    with board_of(settings) as board:
        alert = board.alerts.get(name) or _transition(settings, name)
        suppression = board.suppression(alert, datetime.now(UTC))
    if wants_json(as_json):
        print_json(alert_text.as_json(alert, suppression))
    else:
        print(alert_text.page(alert, suppression))


def _transition(settings: Settings, name: str) -> Alert:
    """The transition with an id, out of the topic; raises UsageError."""
    from nilo_cli.tail import seen_of
    from nilo_cli.tail_offsets import Span
    from nilo_schemas.alerts import Alert

    span = Span(start="beginning")
    for seen in seen_of(settings, "alerts", span, partition=None, exit_at_end=True):
        if isinstance(seen.record, Alert) and seen.record.id == name:
            return seen.record
    raise UsageError(alerts_said.unknown(name))


def _wanted(
    severity: Iterable[str] | None,
    rule: Iterable[str] | None,
    label: Iterable[str] | None,
    state: Iterable[str] | None,
) -> Wanted:
    from nilo_consumers.alerts.wanted import wanted

    pairs = {}
    for text in label or ():
        name, equals, value = text.partition("=")
        if not equals:
            raise UsageError(f"--label {text!r}: use NAME=VALUE, such as model=atlas")
        pairs[name] = value
    try:
        return wanted(_set(severity), _set(rule), _set(state), pairs)
    except ValueError as error:
        raise UsageError(f"--{error}") from None


def _set(values: Iterable[str] | None) -> frozenset[str] | None:
    return None if values is None else frozenset(values)
