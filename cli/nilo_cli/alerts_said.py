"""`nilo alerts ack`, `silence`, `silences`, `unsilence`: what people say of alerts."""

# ruff: noqa: PLC0415  models and clients are imported by the command that uses them

from __future__ import annotations

import getpass
import sys
from collections.abc import Container
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from nilo_cli.ask import ask
from nilo_cli.context import settings_of
from nilo_cli.errors import UsageError
from nilo_cli.output import Json, Row, print_json, printable, show_rows, wants_json
from nilo_cli.times import parse_time

if TYPE_CHECKING:
    from nilo_schemas.alerts import Matcher, Silence

By = Annotated[
    str | None, typer.Option(metavar="NAME", help="Who says it; default: the user of the system.")
]
Comment = Annotated[str, typer.Option(help="Why.")]


def ack(
    ctx: typer.Context,
    fingerprint: Annotated[str, typer.Argument(help="See `nilo alerts list`.")],
    *,
    by: By = None,
    comment: Comment = "",
    as_json: Json = False,
) -> None:
    """Take an alert on, until it is resolved.

    Nobody else is told of it any more. Who consumes alerts is sent it again, with who has it.

    \b
    Example:
      nilo alerts ack 5c1f0a2b9d3e4f67 --by ada --comment "rolling back"
    """
    from nilo_cli.alerts_board import board_of
    from nilo_consumers.alerts.say import acknowledge

    settings = settings_of(ctx)
    with board_of(settings) as board:
        alert = board.alerts.get(fingerprint)
    if alert is None:
        raise UsageError(unknown(fingerprint))
    if not alert.active:
        raise UsageError(f"alert {fingerprint} is {alert.state}: there is nothing to take on")
    episode = {"fingerprint": fingerprint, "episode": alert.starts_at}
    said = _said(by, comment, starts_at=datetime.now(UTC), **episode)
    told = acknowledge(settings, alert, said)
    if wants_json(as_json):
        print_json(told.model_dump(mode="json", exclude_none=True))
    else:
        print(printable(f"{said.created_by} has {alert.rule} {fingerprint}, until it is resolved"))


def silence(
    ctx: typer.Context,
    matchers: Annotated[
        list[str], typer.Argument(metavar="MATCHER…", help="All must match.", show_default=False)
    ],
    *,
    for_: Annotated[str | None, typer.Option("--for", help="For how long: 2h, 3d.")] = None,
    until: Annotated[str | None, typer.Option(help="Up to an ISO time; --for or this.")] = None,
    by: By = None,
    comment: Comment = "",
    as_json: Json = False,
) -> None:
    """Tell nobody of the alerts that match for a while.

    They are detected and kept all the same. Matchers are Alertmanager's: = != =~ !~, where a
    regular expression must match the whole value. Labels are those of the alert, and alertname
    (its rule), severity and metric.

    \b
    Example:
      nilo alerts silence model=atlas --for 2h --comment "new machines"
      nilo alerts silence 'alertname=~"Llm.*"' --until 2030-06-01T12:00:00Z
    """
    from nilo_cli.alerts_board import board_of
    from nilo_consumers.alerts.say import silence as send
    from nilo_consumers.alerts.suppress import holds

    now = datetime.now(UTC)
    end, found = _end(for_, until, now), [_matcher(text) for text in matchers]
    said = _said(by, comment, starts_at=now, ends_at=end, matchers=found)
    settings = settings_of(ctx)
    with board_of(settings) as board:
        matching = [alert.fingerprint for alert in board.active() if holds(said, alert, now)]
    send(settings, said)
    if wants_json(as_json):
        print_json(said.model_dump(mode="json", exclude_none=True) | {"matching": matching})
    else:
        print(f"{said.id}: until {end:%Y-%m-%d %H:%M:%S}Z, {len(matching)} active alerts match")


def silences(
    ctx: typer.Context,
    *,
    everything: Annotated[bool, typer.Option("--all", help="Those that are over too.")] = False,
    as_json: Json = False,
) -> None:
    """List what is silenced and taken on.

    What is in force or still to come. An acknowledgement is over when its alert is resolved.

    \b
    Example:
      nilo alerts silences
      nilo alerts silences --all --json
    """
    from nilo_cli.alerts_board import board_of

    now = datetime.now(UTC)
    with board_of(settings_of(ctx)) as board:
        active = {(alert.fingerprint, alert.starts_at) for alert in board.active()}
        kept = sorted(board.silences.values(), key=lambda each: (each.starts_at, each.id))
    found = [(each, _state(each, now, active)) for each in kept]
    shown = [(each, state) for each, state in found if everything or state != "over"]
    if wants_json(as_json):
        for each, state in shown:
            print_json(each.model_dump(mode="json", exclude_none=True) | {"state": state})
    elif shown:
        columns = ["id", "state", "what", "until", "by", "comment"]
        show_rows([_row(each, state) for each, state in shown], columns, as_json=False)
    else:
        print("no silence" + ("" if everything else " is in force"), file=sys.stderr)


def unsilence(
    ctx: typer.Context,
    identity: Annotated[str, typer.Argument(metavar="ID", help="See `nilo alerts silences`.")],
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be deleted.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Delete a silence or an acknowledgement.

    \b
    Example:
      nilo alerts unsilence 01976d4e-5c00-7abc-8def-0123456789ab --yes
    """
    from nilo_cli.alerts_board import board_of
    from nilo_consumers.alerts.say import unsilence as send

    settings = settings_of(ctx)
    with board_of(settings) as board:
        said = board.silences.get(identity)
    if said is None:
        raise UsageError(f"no silence {identity!r}: `nilo alerts silences` shows those that are")
    about = printable(f"{identity} of {said.created_by}: {_what(said)}")
    if dry_run:
        print(f"would delete {about}")
        return
    if not yes:
        ask(f"Delete {about}?", "the silence stays")
    send(settings, identity)
    print(f"deleted {about}")


def unknown(name: str) -> str:
    """What to say of an alert that is not there."""
    return f"no alert {name!r}: `nilo alerts list --all` shows those that are"


def _said(by: str | None, comment: str, **more: object) -> Silence:
    from pydantic import ValidationError

    from nilo_schemas.alerts import Silence

    try:
        values = {"created_by": by if by is not None else getpass.getuser(), "comment": comment}
        return Silence.model_validate(values | more)
    except ValidationError as error:
        wrong = error.errors()[0]
        raise UsageError(f"{wrong['loc'][0]}: {wrong['msg']}") from None


def _matcher(text: str) -> Matcher:
    from nilo_consumers.alerts.matchers import matcher

    try:
        return matcher(text)
    except ValueError as error:
        raise UsageError(str(error)) from None


def _end(for_: str | None, until: str | None, now: datetime) -> datetime:
    from nilo_schemas.catalogue import window_length

    if (for_ is None) == (until is None):
        raise UsageError("say how long: either --for 2h or --until 2030-06-01T12:00:00Z")
    if until is not None:
        end = parse_time(until, now)
    else:
        try:
            end = now + window_length(for_ or "")
        except (ValueError, OverflowError):
            raise UsageError(f"--for {for_!r} is no length of time: use 30m, 2h or 3d") from None
    if end <= now:
        raise UsageError(f"{end:%Y-%m-%d %H:%M:%S}Z is past: a silence needs an end to come")
    return end


def _state(said: Silence, now: datetime, active: Container[tuple[str, datetime | None]]) -> str:
    if said.fingerprint is not None:
        return "in force" if (said.fingerprint, said.episode) in active else "over"
    if said.ends_at is not None and said.ends_at <= now:
        return "over"
    return "to come" if said.starts_at > now else "in force"


def _row(said: Silence, state: str) -> Row:
    return {
        "id": said.id,
        "state": state,
        "what": _what(said),
        "until": "resolved" if said.ends_at is None else f"{said.ends_at:%Y-%m-%d %H:%M:%S}",
        "by": said.created_by,
        "comment": said.comment,
    }


def _what(said: Silence) -> str:
    from nilo_consumers.alerts.matchers import as_text

    if said.fingerprint is not None:
        return f"alert {said.fingerprint}"
    return " ".join(map(as_text, said.matchers))
