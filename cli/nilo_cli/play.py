"""`nilo play`: a file's rows as events."""

# ruff: noqa: PLC0415  models and clients are imported by the command that uses them

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nilo_cli.context import settings_of
from nilo_cli.errors import UsageError
from nilo_cli.output import Json, print_json, printable, progress, wants_json
from nilo_cli.times import parse_time

if TYPE_CHECKING:
    from nilo_producers import Played


class BadRows(StrEnum):
    """What a row that does not become an event does."""

    STOP = "stop"
    SKIP = "skip"


def play(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(help="CSV, .jsonl or Parquet.", exists=True)],
    *,
    event_type: Annotated[
        str | None, typer.Option("--as", metavar="TYPE", help="Such as llm.call.")
    ] = None,
    mapping: Annotated[
        list[str] | None,
        typer.Option(
            "--map", metavar="FIELD=COLUMN,…", help="Laid over what is known of the file."
        ),
    ] = None,
    speed: Annotated[str, typer.Option(help="1x as it happened, 60x, or max.")] = "max",
    shift_time: Annotated[
        str | None,
        typer.Option(help="now, or an ISO time: when the last event is to happen."),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Rows to play at most.")] = None,
    bad_rows: Annotated[
        BadRows, typer.Option("--on-error", "--bad-rows", help="What a row that does not fit does.")
    ] = BadRows.STOP,
    as_json: Json = False,
) -> None:
    """Play a CSV, JSON lines or Parquet file as events.

    Traces known by their name need neither --as nor --map. A column may have a unit
    (duration=latency:ms, time=ts:America/New_York); text in quotes stands for itself.

    \b
    Example:
      nilo play azure_llm_2023_conv.parquet --shift-time now
      nilo play calls.csv --as llm.call --map "time=ts:s,duration=ms:ms,model=name"
      nilo play calls.csv --as llm.call --map model=name --speed 60x --on-error skip
    """
    from nilo_cli.cluster import require_topics
    from nilo_producers import MappingError
    from nilo_producers import play as play_file

    pairs = _checked(event_type, mapping or [], speed)
    shift = None if shift_time is None else parse_time(shift_time, datetime.now(UTC))
    settings = settings_of(ctx)
    require_topics(settings)
    try:
        with progress("playing", "rows") as bar:
            played = play_file(
                settings,
                file,
                event_type=event_type,
                mapping=pairs or None,
                speed=speed,
                shift_time=shift,
                limit=limit,
                bad_rows=bad_rows.value,
                progress=bar and (lambda state: bar(state.rows, state.total)),
            )
    except MappingError as error:
        raise UsageError(str(error)) from None
    _show(played, as_json)


def _checked(event_type: str | None, mapping: Sequence[str], speed: str) -> dict[str, str]:
    """The pairs of all mappings; raises UsageError for a wrong type, mapping or speed."""
    from nilo_producers import PlayError, parse_map, parse_speed
    from nilo_schemas.errors import ContractError
    from nilo_schemas.families import family_of_type

    try:
        if event_type is not None:
            family_of_type(event_type)
        parse_speed(speed)
        return parse_map(",".join(mapping))
    except (ContractError, PlayError) as error:
        raise UsageError(str(error)) from None


def _show(played: Played, as_json: bool) -> None:
    if wants_json(as_json):
        print_json(vars(played))
        return
    speed = played.delivered / max(played.seconds, 1e-9)
    print(
        f"{played.delivered:,} of {played.rows:,} rows delivered to {played.topic} "
        f"in {played.seconds:.1f} s ({speed:,.0f} events/s), {played.skipped:,} skipped"
    )
    for reason in played.reasons:
        print(f"skipped: {printable(reason)}")
    if played.notes:
        print(f"note: {played.notes}")
