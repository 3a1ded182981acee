"""The programs that keep running: `nilo process`, `nilo sink`; and `nilo demo`."""

# ruff: noqa: PLC0415  Faust, Arrow and psycopg are imported only by the command that uses them

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nilo_cli.context import flags_of, settings_of
from nilo_cli.errors import TakenError, UsageError

if TYPE_CHECKING:
    from nilo_schemas.settings import Settings

PROMETHEUS_PORT = 9464
PROCESS_PORT = 9465
LAST_PORT = 65535
log = logging.getLogger(__name__)
Host = Annotated[
    str, typer.Option("--metrics-host", "--host", help="Address of /metrics and /health.")
]


class SinkName(StrEnum):
    """The sinks that there are."""

    POSTGRES = "postgres"
    PARQUET = "parquet"
    SQLITE = "sqlite"
    PROMETHEUS = "prometheus"
    INFLUX = "influx"
    PUSHGATEWAY = "pushgateway"
    NOTIFY = "notify"


def process(
    ctx: typer.Context,
    metrics_host: Host = "127.0.0.1",
    metrics_port: Annotated[
        int, typer.Option("--metrics-port", "--port", min=1, max=65535, help="Its port.")
    ] = PROCESS_PORT,
    workers: Annotated[
        int, typer.Option(min=1, help="Processes; each further one has the next port.")
    ] = 1,
    *,
    ends_with_stdin: Annotated[bool, typer.Option("--end-with-stdin", hidden=True)] = False,
) -> None:
    """Run the stream processors until Ctrl-C or SIGTERM.

    Several of them share the work, on this machine and on others. With --workers, those that fail
    are started again.

    \b
    Example:
      nilo process
      nilo process --workers 2 --metrics-port 9475
    """
    from nilo_cli.cluster import require_topics
    from nilo_stream_processors.supervisor import end_with_stdin

    if ends_with_stdin:
        end_with_stdin()
    settings = settings_of(ctx)
    ports = range(metrics_port, metrics_port + workers)
    if ports[-1] > LAST_PORT:
        raise UsageError(
            f"--workers {workers} from --metrics-port {metrics_port} on would need port "
            f"{ports[-1]}, and {LAST_PORT} is the last: choose a lower --metrics-port"
        )
    for port in ports:
        require_free(metrics_host, port)
    require_topics(settings)
    if workers > 1:
        raise typer.Exit(_run_workers(ctx, settings, metrics_host, ports))
    from nilo_stream_processors.worker import run_worker

    run_worker(settings, metrics_host=metrics_host, metrics_port=metrics_port)


def _run_workers(ctx: typer.Context, settings: Settings, host: str, ports: range) -> int:
    """Run a worker on each port until Ctrl-C or SIGTERM; returns the exit code."""
    from nilo_schemas.catalogue_files import load_catalogue
    from nilo_stream_processors.supervisor import Worker, supervise

    load_catalogue(settings.catalogue)  # what no worker could start with is told here, once
    _log_to_stderr()
    # -P: a file of the user's in this folder must not stand in for a module of the same name.
    nilo = [sys.executable, "-P", "-m", "nilo_cli"]
    nilo += ["--debug"] if ctx.find_root().params["debug"] else []
    words = ["process", "--end-with-stdin", "--metrics-host", host, "--metrics-port"]
    workers = [
        Worker(f"worker {number} at {host}:{port}", [*nilo, *words, str(port)], host, port)
        for number, port in enumerate(ports, 1)
    ]
    return supervise(workers, os.environ | settings.environment())


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
    *,
    test: Annotated[
        str | None,
        typer.Option(
            "--test", metavar="RECEIVER", help="notify: send it a made-up alert, and end."
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="notify: print what would be sent from now on.")
    ] = False,
) -> None:
    """Bring events and windows into a store, or alerts to people.

    Runs until Ctrl-C or SIGTERM; then what is held is stored first. influx posts the final windows
    as line protocol to influx_url; pushgateway pushes what prometheus would serve to
    pushgateway_url, where it stays. notify tells the receivers of notify_file of alerts; a second
    one stands by.

    \b
    Example:
      nilo sink postgres
      nilo sink parquet --metrics-port 9467
      nilo --sqlite-file events.db sink sqlite
      nilo sink prometheus --port 9464
      NILO_INFLUX_URL='http://localhost:8086/api/v2/write?org=acme&bucket=nilo' nilo sink influx
      NILO_PUSHGATEWAY_URL=http://localhost:9091 nilo sink pushgateway
      NILO_NOTIFY=receivers.yaml nilo sink notify --test oncall
      NILO_NOTIFY=receivers.yaml nilo sink notify
    """
    from nilo_cli.cluster import require_topics
    from nilo_schemas.collector import tune_gc

    settings = settings_of(ctx)
    if test is not None or dry_run:
        _try_notify(name, settings, test)
        return
    if metrics_port is None and name is SinkName.PROMETHEUS:
        metrics_port = PROMETHEUS_PORT
    if metrics_port is not None:
        require_free(metrics_host, metrics_port)
    require_topics(settings)
    _log_to_stderr()
    tune_gc()
    _runner(name)(
        settings,
        stop=stop_on_signal(),
        metrics_host=metrics_host,
        metrics_port=metrics_port,
        on_ready=lambda url: log.info("%s: ready, %s", name.value, url or "no /metrics"),
    )


def _runner(name: SinkName) -> Callable[..., None]:
    """What runs a sink: `run_notify`, or `run_sink` with the name of a store."""
    if name is SinkName.NOTIFY:
        from nilo_consumers.alerts.notify.run import run_notify

        return run_notify
    from nilo_consumers import run_sink

    return partial(run_sink, name.value)


def _try_notify(name: SinkName, settings: Settings, receiver: str | None) -> None:
    """`--test RECEIVER`, else `--dry-run`."""
    if name is not SinkName.NOTIFY:
        raise UsageError(f"--test and --dry-run are for `nilo sink notify`, not for {name.value}")
    from nilo_cli.cluster import require_topics
    from nilo_cli.output import print_json
    from nilo_consumers.alerts.notify.run import send_test, would_send

    if receiver is not None:
        send_test(settings, receiver)
        print(f"sent to {receiver}")
        return
    require_topics(settings)
    for shown in would_send(settings, stop_on_signal()):
        print_json(shown)


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
    sinks; counts are then read back from every store, and the ledger compares every offset. Exits
    with 1 when something differs.

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
