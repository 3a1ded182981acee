"""The program `nilo`: its commands, the options in front of them, and what an error looks like."""

from __future__ import annotations

import logging
import os
import sqlite3
import sys
import tempfile
from collections.abc import Sequence
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from nilo_cli import (
    advise,
    alerts,
    audit,
    bench,
    config,
    dlq,
    emit,
    erase,
    export,
    import_file,
    metrics,
    play,
    replay,
    schemas,
    stack,
    tail,
    tiers,
    topics,
    windows,
)
from nilo_cli import lake as lakes
from nilo_cli import run as programs
from nilo_cli.errors import UsageError
from nilo_schemas.errors import NiloError

FAILED, WRONG_USAGE = 1, 2
app = typer.Typer(
    name="nilo",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (
    programs.demo,
    stack.up,
    stack.down,
    stack.status,
    emit.emit,
    play.play,
    tail.tail,
    windows.windows,
    advise.advise,
    export.export,
    programs.process,
    programs.sink,
):
    app.command()(command)
app.command("import")(import_file.import_file)  # no name for a function of Python
for group, name in (
    (topics, "topics"),
    (schemas, "schemas"),
    (metrics, "metrics"),
    (alerts, "alerts"),
    (audit, "audit"),
    (lakes, "lake"),
    (tiers, "tiers"),
    (replay, "replay"),
    (erase, "erase"),
    (dlq, "dlq"),
    (config, "config"),
    (bench, "bench"),
):
    app.add_typer(group.app, name=name)


def _show_version(asked: bool) -> None:
    if asked:
        print(f"nilometer {version_of('nilometer')}")
        raise typer.Exit


@app.callback()
def options(
    ctx: typer.Context,
    *,
    home: Annotated[
        Path | None, typer.Option(help="Folder of the embedded stack.", show_default=False)
    ] = None,
    bootstrap_servers: Annotated[
        str | None,
        typer.Option("--bootstrap-servers", "--kafka-bootstrap-servers", help="host:port,…"),
    ] = None,
    schema_registry: Annotated[
        str | None,
        typer.Option("--schema-registry", "--schema-registry-url", help="URL of the registry."),
    ] = None,
    database_url: Annotated[str | None, typer.Option(help="postgresql://…")] = None,
    topic_prefix: Annotated[str | None, typer.Option(help="In front of every topic name.")] = None,
    lake: Annotated[str | None, typer.Option(help="Folder or URL of the Delta tables.")] = None,
    sqlite_file: Annotated[
        Path | None, typer.Option(help="File of the SQLite store.", show_default=False)
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Tracebacks and logs of clients.")] = False,
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="And exit.")
    ] = False,
) -> None:
    """Event streaming for AI in production: typed events through Kafka to metrics and alerts.

    Settings come from these options, then the environment (NILO_…), nilo.toml, and the embedded
    stack started by `nilo up`; `nilo config show` tells which.

    \b
    Example:
      nilo demo
      nilo up
      nilo emit llm.call model=atlas duration=0.8
      nilo tail events.llm -o beginning -e
    """
    # An error of a client comes up as our own, with a way out; its own log lines would come twice.
    logging.basicConfig(level=logging.DEBUG if debug else logging.CRITICAL)
    ctx.obj = {
        "home": home,
        "kafka_bootstrap_servers": bootstrap_servers,
        "schema_registry_url": schema_registry,
        "database_url": database_url,
        "topic_prefix": topic_prefix,
        "lake": lake,
        "sqlite_file": sqlite_file,
    }


def run() -> NoReturn:
    """The entry point of the program: 0 done, 1 failed, 2 wrong usage, 130 interrupted."""
    code = main(sys.argv[1:])
    sys.stderr.flush()
    # Everything of ours is closed by now. Arrow's reading threads may not have ended, and abort
    # the process when the interpreter takes itself apart under them.
    os._exit(code)


def main(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code; errors become one line on stderr."""
    try:
        app(args=arguments, prog_name="nilo", standalone_mode=True)
    except SystemExit as ended:
        return _flushed(ended.code if isinstance(ended.code, int) else FAILED)
    except Exception as error:
        if "--debug" in arguments:
            raise
        print(f"nilo: {explain(error)}", file=sys.stderr)
        return _flushed(WRONG_USAGE if isinstance(error, UsageError) else FAILED)
    return _flushed(0)


def explain(error: Exception) -> str:
    """One line about an error: what happened, and the way out."""
    text = " ".join(str(error).split())
    if isinstance(error, NiloError):
        # the last lines of a server's log stay lines
        return str(error)
    if isinstance(error, OSError):
        return text
    if isinstance(error, sqlite3.Error):
        # a store's own errors are translated: this is the sorting of events in a temporary file
        return f"sorting in {tempfile.gettempdir()}: {text}; TMPDIR names another folder"
    kafka, psycopg = sys.modules.get("confluent_kafka"), sys.modules.get("psycopg")
    if kafka and isinstance(error, kafka.KafkaException):
        return f"Kafka: {error.args[0].str()}; `nilo status` shows what runs"
    if psycopg and isinstance(error, psycopg.Error):
        return f"PostgreSQL: {text}; `nilo status` shows what runs"
    return f"{type(error).__name__}: {text} (this is a bug; `nilo --debug …` shows where)"


def _flushed(code: int) -> int:
    """The code; output that nobody reads any more (`nilo … | head`) is not an error to tell."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    return code
