"""`nilo dlq list`, `show`, `redrive`."""

# ruff: noqa: PLC0415  the stores' clients are imported by the command that uses them

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from nilo_cli.ask import ask, require_person
from nilo_cli.context import settings_of
from nilo_cli.dlq_text import print_letter
from nilo_cli.errors import RefusedError, UsageError
from nilo_cli.output import Json, print_json, show_rows, tell, wants_json
from nilo_cli.times import parse_time

if TYPE_CHECKING:
    from nilo_consumers.dlq.letters import Chosen
    from nilo_consumers.dlq.tally import Line
    from nilo_schemas.dead_letters import Origin
    from nilo_schemas.settings import Settings

app = typer.Typer(
    help="Dead letters: which there are, and sending them again.", no_args_is_help=True
)
Topic = Annotated[list[str] | None, typer.Option("--topic", help="Only this topic (repeatable).")]
Reasons = Annotated[
    list[str] | None, typer.Option("--reason", help="Only this reason (repeatable).")
]
Connector = Annotated[
    list[str] | None,
    typer.Option("--connector", help="Only those of this reader: processors, postgres …"),
]
Since = Annotated[str | None, typer.Option("--since", help="Letters since: 1h (ago) or a time.")]
Until = Annotated[str | None, typer.Option("--until", help="Letters before.")]
_LISTED = [
    "topic", "reason", "connector", "letters", "origins", "redriven", "attempts", "first", "last",
]  # fmt: skip
_DONE = ["topic", "reason", "outcome", "into", "origins", "letters", "why"]


@app.callback()
def dlq() -> None:
    """Dead letters: which there are, and sending them again."""


@app.command("list")
def list_letters(
    ctx: typer.Context,
    *,
    topic: Topic = None,
    reason: Reasons = None,
    connector: Connector = None,
    since: Since = None,
    until: Until = None,
    as_json: Json = False,
) -> None:
    """Count the dead letters by topic, reason and reader.

    Each reader (the processors, every sink) makes a letter of its own: `origins` counts messages,
    `redriven` those of them that `nilo dlq redrive` has sent, `attempts` how often one was tried.

    \b
    Example:
      nilo dlq list
      nilo dlq list --topic events.llm --since 1h --json
    """
    from nilo_consumers.audit.in_kafka import InKafka
    from nilo_consumers.dlq.journal import Journal
    from nilo_consumers.dlq.listing import listed

    settings = settings_of(ctx)
    chosen = _chosen(settings, topic, reason, connector, (since, until))
    with closing(InKafka(settings)) as kafka, closing(Journal(settings)) as journal:
        groups = listed(kafka, chosen, settings.topic_prefix, journal.read())
    rows = [group.as_json() for group in groups]
    if not wants_json(as_json):
        times = ({"first": _short(group.first), "last": _short(group.last)} for group in groups)
        rows = [row | short for row, short in zip(rows, times, strict=True)]
    show_rows(rows, _LISTED, as_json=as_json)
    if not groups:
        tell("no dead letters")


@app.command()
def show(
    ctx: typer.Context,
    *,
    origin: Annotated[
        str | None, typer.Option("--id", help="Those of one message: topic:partition:offset.")
    ] = None,
    number: Annotated[int, typer.Option("-n", min=1, help="So many, the newest first.")] = 5,
    topic: Topic = None,
    reason: Reasons = None,
    connector: Connector = None,
    since: Since = None,
    until: Until = None,
    as_json: Json = False,
) -> None:
    """Show single dead letters with their story and what is in them.

    The value is decoded as it would be now; where that fails, by the schema of its writer, and its
    first bytes are shown.

    \b
    Example:
      nilo dlq show -n 1
      nilo dlq show --reason refused --connector postgres
      nilo dlq show --id events.llm:0:41 --json
    """
    from nilo_consumers.audit.in_kafka import InKafka
    from nilo_consumers.dlq.journal import Journal
    from nilo_consumers.dlq.listing import newest
    from nilo_consumers.dlq.shown import shown
    from nilo_schemas.registry import Registry

    settings = settings_of(ctx)
    chosen = _chosen(settings, topic, reason, connector, (since, until), origin=origin)
    schema = Registry(settings).schema
    with closing(InKafka(settings)) as kafka, closing(Journal(settings)) as journal:
        history = journal.read()
        found = newest(kafka, chosen, settings.topic_prefix, number)
        rows = [shown(settings, letter, schema, history) for letter in found]
    if not rows:
        raise RefusedError("no dead letter is like that: `nilo dlq list` shows which there are")
    for row in rows:
        if wants_json(as_json):
            print_json(row)
        else:
            print_letter(row)


@app.command()
def redrive(
    ctx: typer.Context,
    *,
    topic: Topic = None,
    reason: Reasons = None,
    connector: Connector = None,
    since: Since = None,
    until: Until = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only look what would happen.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Send the dead letters again that would succeed now.

    A message that nobody could read goes through its topic once more, with its id, key and headers,
    however many letters it has. One that only some stores lack is given to these alone. The others
    are left, and it is said why: `late` ones are for `nilo replay repair`. Doing it twice, or again
    after it was killed, sends nothing twice.

    \b
    Example:
      nilo dlq redrive --dry-run
      nilo dlq redrive --topic events.llm --reason unknown_schema --yes
    """
    from nilo_consumers.dlq.redrive import redrive as work

    settings, asking = settings_of(ctx), not (dry_run or yes)
    if asking:
        require_person()
    chosen = _chosen(settings, topic, reason, connector, (since, until))
    if asking:
        lines = work(settings, chosen, tell, dry_run=True)
        show_rows((line.as_json() for line in lines), _DONE, as_json=as_json)
        ask(f"Send {_done(lines)} messages again?", "nothing was sent")
    lines = work(settings, chosen, tell, dry_run=dry_run)
    show_rows(({**line.as_json(), "dry_run": dry_run} for line in lines), _DONE, as_json=as_json)
    tell(f"{_done(lines):,} messages {'would be' if dry_run else 'were'} redriven")


def _chosen(
    settings: Settings,
    topics: Sequence[str] | None,
    reasons: Sequence[str] | None,
    connectors: Sequence[str] | None,
    within: tuple[str | None, str | None],
    *,
    origin: str | None = None,
) -> Chosen:
    """What the options ask for; raises UsageError, and ContractError for topics not there."""
    from nilo_consumers.dlq.letters import REASONS, Chosen

    for name in reasons or ():
        if name not in REASONS:
            raise UsageError(f"no reason {name!r}; there are {', '.join(REASONS)}")
    now, place = datetime.now(UTC), _origin(settings, origin)
    if place is not None:
        topics = [*(topics or ()), place.topic]
    return Chosen(
        _there(settings, topics),
        reasons or (),
        connectors or (),
        since=parse_time(within[0], now) if within[0] else None,
        until=parse_time(within[1], now) if within[1] else None,
        origin=place,
    )


def _origin(settings: Settings, text: str | None) -> Origin | None:
    from nilo_schemas.dead_letters import Origin

    if text is None:
        return None
    try:
        origin = Origin.parse(text)
    except ValueError:
        raise UsageError(
            f"--id {text!r}: it is topic:partition:offset, such as events.llm:0:41"
        ) from None
    bare = origin.topic.removeprefix(settings.topic_prefix)
    return origin._replace(topic=settings.topic_prefix + bare)


def _there(settings: Settings, topics: Sequence[str] | None) -> list[str]:
    """The topics asked for, without prefix (default: all), whose dead letters have a topic."""
    from nilo_cli.cluster import connect
    from nilo_consumers.dlq.letters import lettered_topics
    from nilo_schemas.dead_letters import DLQ, dead_letter_topic
    from nilo_schemas.errors import ContractError

    prefix, known = settings.topic_prefix, lettered_topics()
    names = [each.removeprefix(prefix).removeprefix(DLQ) for each in topics or known]
    for name in names:
        if name not in known:
            raise UsageError(f"no topic {name!r} has dead letters; there are {', '.join(known)}")
    _, existing = connect(settings)
    for name in names:
        if dead_letter_topic(prefix + name, prefix) not in existing:
            missing = dead_letter_topic(prefix + name, prefix)
            raise ContractError(f"topic {missing} does not exist: run `nilo topics create`")
    return list(dict.fromkeys(names))


def _done(lines: Sequence[Line]) -> int:
    return len(
        {origin for line in lines if line.act in ("sent", "stored") for origin in line.messages}
    )


def _short(time: datetime) -> str:
    return f"{time:%m-%d %H:%M}"
