"""`nilo topics create`, `nilo topics list`."""

# ruff: noqa: PLC0415  clients are imported by the command that uses them

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import typer

from nilo_cli.context import settings_of
from nilo_cli.output import Json, Row, show_rows

if TYPE_CHECKING:
    from nilo_schemas.settings import Settings

app = typer.Typer(help="The topics: made from the event families, listed.", no_args_is_help=True)


@app.command()
def create(ctx: typer.Context, as_json: Json = False) -> None:
    """Create the topics that are missing.

    Events, their dead letters, partials, windows and the processors' state. Of topics that are
    there only the configuration of the partials and the state is set right; what was changed is
    shown.

    \b
    Example:
      nilo topics create
      NILO_PARTITIONS=12 nilo topics create
    """
    from nilo_cli.cluster import connect
    from nilo_schemas.topics import create_topics

    settings = settings_of(ctx)
    connect(settings)
    rows = [
        {
            "name": made.spec.name,
            "partitions": made.spec.partitions,
            "created": made.created,
            "changed": " ".join(f"{key}={value}" for key, value in made.changed.items()),
        }
        for made in create_topics(settings)
    ]
    show_rows(rows, ["name", "partitions", "created", "changed"], as_json=as_json)


@app.command(name="list")
def list_(ctx: typer.Context, as_json: Json = False) -> None:
    """List our topics and what they hold.

    \b
    Example:
      nilo topics list
      nilo topics list --json
    """
    rows = list(_topics(settings_of(ctx)))
    columns = ["name", "partitions", "messages", "retention", "cleanup"]
    show_rows(rows, columns, as_json=as_json)


def _topics(settings: Settings) -> Iterator[Row]:
    from nilo_cli.cluster import connect, our_topics, topic_configs, watermarks

    admin, existing = connect(settings)
    topics = our_topics(settings, existing)
    marks, configs = watermarks(admin, topics), topic_configs(admin, topics)
    for name, partitions in topics.items():
        cleanup = configs[name]["cleanup.policy"]
        # A topic that is only compacted keeps the newest of each key, whatever its retention says.
        retention = int(configs[name]["retention.ms"]) if "delete" in cleanup else -1
        yield {
            "name": name,
            "partitions": partitions,
            "messages": sum(
                marks[name, part][1] - marks[name, part][0] for part in range(partitions)
            ),
            "retention": "forever" if retention < 0 else f"{retention / 86_400_000:g} d",
            "retention_ms": retention,
            "cleanup": cleanup,
        }
