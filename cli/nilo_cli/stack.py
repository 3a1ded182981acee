"""`nilo up`, `nilo down`, `nilo status`."""

# ruff: noqa: PLC0415  the embedded stack and the clients are imported by the command that uses them

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import typer

from nilo_cli.ask import ask
from nilo_cli.context import settings_of
from nilo_cli.errors import UsageError
from nilo_cli.output import Json, Row, show_rows, tell, wants_json

Port = Annotated[int | None, typer.Option(min=1, max=65535, help="Wanted port.")]


def up(
    ctx: typer.Context,
    *,
    brokers: Annotated[
        int | None, typer.Option(help="1, or 3 for a replicated cluster.", show_default=False)
    ] = None,
    kafka_port: Port = None,
    registry_port: Port = None,
    postgres_port: Port = None,
    as_json: Json = False,
) -> None:
    """Start Kafka, registry and PostgreSQL.

    Then make the topics and register the contracts, so that everything works at once.

    Servers that are configured elsewhere are used as they are. Everything lies under --home.

    \b
    Example:
      nilo up
      nilo --home /tmp/try up --brokers 3
    """
    from nilo_schemas.registry import Registry
    from nilo_schemas.topics import create_topics

    if brokers not in (None, 1, 3):
        raise UsageError(f"--brokers {brokers}: 1 (a single broker) or 3 (a replicated cluster)")
    ports = {"kafka-1": kafka_port, "registry": registry_port, "postgres": postgres_port}
    _start(ctx, brokers, {name: port for name, port in ports.items() if port is not None})
    settings = settings_of(ctx)  # not before: `_start` has written the run file
    new = [made for made in create_topics(settings) if made.created]
    contracts = list(Registry(settings).register_all())
    tell(f"{len(new)} topics made, {len(contracts)} contracts registered")
    show_rows(_servers(ctx), ["name", "state", "address", "version"], as_json=as_json)
    if not wants_json(as_json):
        print("Try next: nilo demo · nilo emit llm.call model=m duration=0.8 · nilo status")


def _start(ctx: typer.Context, brokers: int | None, ports: dict[str, int]) -> None:
    from nilo_cli import health

    settings = settings_of(ctx)
    elsewhere = health.elsewhere(settings)
    if len(elsewhere) == len(health.PARTS):
        return
    from nilo_deploy import up as start

    start(settings, brokers=brokers, ports=ports, skip=elsewhere, progress=tell)


def down(
    ctx: typer.Context,
    delete: Annotated[bool, typer.Option("--delete", help="Delete the data as well.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Delete without asking.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would happen.")] = False,
) -> None:
    """Stop the embedded servers; their data stays.

    \b
    Example:
      nilo down
      nilo down --delete --yes
    """
    from nilo_deploy import down as stop
    from nilo_deploy import status

    settings = settings_of(ctx)
    if dry_run:
        running = [server.name for server in status(settings).servers if server.pid]
        print(f"would stop: {', '.join(running) or 'nothing, no server runs'}")
        if delete:
            print(f"would delete the data of the stack under {settings.home}")
        return
    if delete and not yes:
        ask(
            f"Delete all data of the stack under {settings.home}?",
            "nothing was stopped or deleted",
        )
    stopped = stop(settings, delete=delete, progress=tell)
    print(f"stopped: {', '.join(stopped) or 'nothing, no server ran'}")
    if delete:
        print(f"deleted the data of the stack under {settings.home}")


def status(ctx: typer.Context, as_json: Json = False) -> None:
    """Show what runs, what is missing and what lags.

    Exits with 1 when something is down or missing.

    \b
    Example:
      nilo status
      nilo status --json
    """
    rows = list(_status(ctx))
    show_rows(rows, ["name", "state", "address", "version", "detail"], as_json=as_json)
    if not all(row["state"] in ("up", "ok") for row in rows):
        raise typer.Exit(1)


def _status(ctx: typer.Context) -> Iterator[Row]:
    from nilo_cli import health

    settings = settings_of(ctx)
    servers = list(_servers(ctx))
    yield from servers
    if servers:
        yield from health.contents(settings)
    else:
        yield health.row("stack", "down", str(settings.home), detail="start it with `nilo up`")


def _servers(ctx: typer.Context) -> Iterator[Row]:
    from nilo_cli import health

    settings = settings_of(ctx)
    elsewhere = health.elsewhere(settings)
    if len(elsewhere) < len(health.PARTS):
        # not before: where all servers are elsewhere, the extra `embedded` may be absent
        from nilo_deploy import status

        yield from (health.embedded(server) for server in status(settings).servers)
    for part in elsewhere:
        yield health.asked(part, settings)
