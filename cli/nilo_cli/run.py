"""The programs that keep running: `nilo process`, `nilo sink`; and `nilo demo`."""

# ruff: noqa: PLC0415  Faust, Arrow and psycopg are imported only by the command that uses them

from __future__ import annotations

import logging
import signal
import socket
import threading
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from nilo_cli.context import flags_of, settings_of
from nilo_cli.errors import TakenError

PROMETHEUS_PORT = 9464
PROCESS_PORT = 9465
log = logging.getLogger(__name__)
Host = Annotated[
    str, typer.Option("--metrics-host", "--host", help="Address of /metrics and /health.")
]


class SinkName(StrEnum):
    """The sinks that there are."""

    POSTGRES = "postgres"
    PARQUET = "parquet"
    PROMETHEUS = "prometheus"


def process(
    ctx: typer.Context,
    metrics_host: Host = "127.0.0.1",
    metrics_port: Annotated[
        int, typer.Option("--metrics-port", "--port", min=1, max=65535, help="Its port.")
    ] = PROCESS_PORT,
) -> None:
    """Run the stream processors until Ctrl-C or SIGTERM.

    Several of them share the work.

    \b
    Example:
      nilo process
      nilo process --metrics-port 9475
    """
    from nilo_cli.cluster import require_topics
    from nilo_stream_processors.worker import run_worker

    settings = settings_of(ctx)
    require_free(metrics_host, metrics_port)
    require_topics(settings)
    run_worker(settings, metrics_host=metrics_host, metrics_port=metrics_port)


def sink(
    ctx: typer.Context,
    name: Annotated[SinkName, typer.Argument(help="Where to.", show_default=False)],
    metrics_host: Host = "127.0.0.1",
    metrics_port: Annotated[
        int | None,
        typer.Option(
            "--metrics-port",
            "--port",
            min=1,
            max=65535,
            help=f"Its port; default: {PROMETHEUS_PORT} for prometheus, none for the others.",
        ),
    ] = None,
) -> None:
    """Bring events and windows from Kafka into a store.

    Runs until Ctrl-C or SIGTERM; then what is held is stored first.

    \b
    Example:
      nilo sink postgres
      nilo sink parquet --metrics-port 9467
      nilo sink prometheus --port 9464
    """
    from nilo_cli.cluster import require_topics
    from nilo_consumers import run_sink

    settings = settings_of(ctx)
    if metrics_port is None and name is SinkName.PROMETHEUS:
        metrics_port = PROMETHEUS_PORT
    if metrics_port is not None:
        require_free(metrics_host, metrics_port)
    require_topics(settings)
    _log_to_stderr()
    run_sink(
        name.value,
        settings,
        stop=stop_on_signal(),
        metrics_host=metrics_host,
        metrics_port=metrics_port,
        on_ready=lambda url: log.info("%s: ready, %s", name.value, url or "no /metrics"),
    )


def demo(
    ctx: typer.Context,
    *,
    input_file: Annotated[
        Path | None,
        typer.Option("--input", help="A trace to play instead.", exists=True, dir_okay=False),
    ] = None,
    rate: Annotated[int, typer.Option(min=1, help="Events per second.")] = 2000,
    seconds: Annotated[int, typer.Option(min=1, help="How long the fleet runs.")] = 30,
    seed: Annotated[int, typer.Option(help="The same seed makes the same fleet.")] = 1,
    keep: Annotated[
        bool, typer.Option(help="Leave the servers running at the end; else stop them.")
    ] = True,
) -> None:
    """Show all of it at once, from events to every store.

    A simulated LLM fleet with an incident in it, or a file, is played through Kafka, Faust and the
    sinks; counts are then read back from every store. Exits with 1 when they differ.

    \b
    Example:
      nilo demo
      nilo demo --rate 500 --seconds 10 --no-keep
    """
    from nilo_cli.demo import run_demo

    flags = flags_of(ctx)
    try:
        code = run_demo(flags, input_file=input_file, rate=rate, seconds=seconds, seed=seed)
    finally:
        if not keep:
            from nilo_deploy import down

            down(settings_of(ctx))
    raise typer.Exit(code)


def require_free(host: str, port: int) -> None:
    """Raise TakenError when nothing can listen on host:port."""
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        raise TakenError(
            f"cannot serve /metrics at {host}:{port} ({error.strerror}): "
            "choose another with --metrics-host and --metrics-port"
        ) from None


def stop_on_signal() -> threading.Event:
    """An event that SIGTERM and SIGINT set; a second SIGINT ends the program at once."""
    stop = threading.Event()

    def on_signal(number: int, _frame: object) -> None:
        stop.set()
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
    return stop


def _log_to_stderr() -> None:
    logging.basicConfig(
        level=min(logging.INFO, logging.getLogger().level),
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        force=True,
    )
    for name in ("httpx", "httpx2"):  # one line per request to the registry tells nobody anything
        logging.getLogger(name).setLevel(logging.WARNING)
