"""What the demo shows: windows as they come, and the summary."""

from __future__ import annotations

import uuid
from collections import defaultdict, deque
from datetime import datetime, timedelta
from types import TracebackType
from typing import Self

from confluent_kafka import Consumer
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from nilo_cli.demo_count import WINDOW_SECONDS, Tally
from nilo_consumers.audit.reconcile import Ledger
from nilo_consumers.read import windows_postgres
from nilo_schemas.clients import kafka_config
from nilo_schemas.codec import decode
from nilo_schemas.errors import DecodeError
from nilo_schemas.registry import Registry
from nilo_schemas.results import MetricWindow
from nilo_schemas.settings import Settings

METRIC, WINDOW = "llm.duration", f"{WINDOW_SECONDS}s"
BARS = "▁▂▃▄▅▆▇█"
KEPT = 24
NEXT_STEPS = (
    ("windows llm.duration --window 10s", "the windows of this run"),
    ("audit reconcile", "every offset in every store; --json is the certificate"),
    ("tail events.llm -o -5 -e", "the last five events"),
    ("emit llm.call source=me model=mine", "an event of your own"),
    ("process", "the processors again; in other terminals: sink postgres, sink parquet"),
    ("sink prometheus", "/metrics for your Prometheus"),
    ("down", "stop the servers; --delete forgets the data"),
)
FAILING = 0.1


class LiveWindows:
    """A table of the newest 10-second windows of each model, redrawn as they come."""

    def __init__(self, settings: Settings, console: Console) -> None:
        self._console, self._registry = console, Registry(settings)
        group = f"nilo-demo-view-{uuid.uuid4().hex[:8]}"
        self._consumer = Consumer(
            kafka_config(
                settings, group_id=group, enable_auto_commit=False, auto_offset_reset="latest"
            )
        )
        self._consumer.subscribe([settings.topic_prefix + MetricWindow.kafka_topic])
        self._newest: dict[str, MetricWindow] = {}
        self._history: dict[str, deque[tuple[float, float]]] = defaultdict(
            lambda: deque(maxlen=KEPT)
        )
        self._live = Live(console=console, refresh_per_second=4, transient=True)

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def update(self, status: str) -> None:
        """Take in the windows that have come, and redraw under a line of status."""
        for message in self._consumer.consume(5_000, 0.05):
            if message.error() is None:
                self._take(message.value())
        self._live.update(Group(self._table(), Text(f"  {status}", style="dim")))

    def _take(self, value: bytes | None) -> None:
        try:
            window = decode(value, MetricWindow, self._registry.schema)
        except DecodeError:
            return  # not ours to judge: the sinks count and keep what does not decode
        if window.metric != METRIC or window.window != WINDOW or not window.quantiles:
            return
        series = _series(window)
        self._newest[series] = max(
            window, self._newest.get(series, window), key=lambda w: (w.window_start, w.count)
        )
        history, start = self._history[series], window.window_start.timestamp()
        if history and history[-1][0] == start:
            history.pop()
        if not history or history[-1][0] < start:
            history.append((start, window.quantiles["p95"]))

    def _table(self) -> Table:
        table = Table(title="Calls of language models, windows of 10 s", title_justify="left")
        table.add_column("model")
        for name in ("from", "calls", "failed", "p50", "p95"):
            table.add_column(name, justify="right")
        table.add_column("p95 so far")
        for series, window in sorted(self._newest.items()):
            table.add_row(
                series,
                f"{window.window_start:%H:%M:%S}",
                f"{window.count:,}",
                f"{window.error_ratio:.1%}",
                f"{window.quantiles['p50']:.2f} s",
                f"{window.quantiles['p95']:.2f} s",
                sparkline([p95 for _, p95 in self._history[series]]),
                style="bold red" if window.error_ratio > FAILING else "",
            )
        return table

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.__exit__(kind, error, trace)
        self._consumer.close()


def _series(window: MetricWindow) -> str:
    return " ".join(value for _, value in sorted(window.dimensions.items()))


def sparkline(values: list[float]) -> str:
    """Bars from zero to the largest value."""
    top = max(values, default=0.0) or 1.0
    return "".join(BARS[min(int(value / top * len(BARS)), len(BARS) - 1)] for value in values)


def show_counts(console: Console, counts: Tally) -> None:
    """The counts as read back from each store, and the verdict."""
    console.print("\nEvents of this run, read back from each store", style="bold")
    table = Table()
    table.add_column("where")
    table.add_column("events", justify="right")
    for name, count in counts.rows():
        table.add_row(name, f"{count:,}", style="green" if count == counts.emitted else "bold red")
    console.print(table)
    if counts.dead:
        console.print(f"  {counts.dead:,} messages also went to the dead letters: nilo tail dlq.…")
    if counts.agree():
        console.print("  nothing lost, nothing counted twice", style="bold green")
    else:
        console.print("  the counts DIFFER", style="bold red")


def show_certificate(console: Console, ledger: Ledger) -> None:
    """What the ledger says of every offset of the run, with the digest of its certificate."""
    console.print("\nEvery offset of this run, in every store (nilo audit reconcile)", style="bold")
    certificate = ledger.certificate()
    verdict, style = ("clean", "bold green") if ledger.clean else ("NOT clean", "bold red")
    console.print(
        f"  {verdict}: {certificate['rows']:,} rows in their places; its certificate", style=style
    )
    console.print(f"  sha256:{certificate['digest']}", highlight=False)


def show_incident(console: Console, settings: Settings, since: datetime) -> None:
    """The p95 of each model over the windows of the run, from PostgreSQL."""
    series: dict[str, dict[str, MetricWindow]] = defaultdict(dict)
    since -= timedelta(seconds=since.timestamp() % WINDOW_SECONDS)
    for window in windows_postgres(settings, METRIC, window=WINDOW, since=since):
        series[_series(window)][f"{window.window_start:%H:%M:%S}"] = window
    times = sorted({time for windows in series.values() for time in windows})[-6:]
    console.print("\np95 and share of failed calls by window, from PostgreSQL", style="bold")
    table = Table()
    for name in ("model", *times):
        table.add_column(name)
    for name, windows in sorted(series.items()):
        table.add_row(name, *(_cell(windows.get(time)) for time in times))
    console.print(table)


def _cell(window: MetricWindow | None) -> Text:
    if window is None:
        return Text("")
    failing = window.error_ratio > FAILING
    text = f"{window.quantiles['p95']:.2f} s {window.error_ratio:.0%}"
    return Text(text, style="bold red" if failing else "")


def show_next_steps(console: Console, settings: Settings, scrape: list[str]) -> None:
    """What Prometheus saw, where everything is, and commands to try."""
    if scrape:
        console.print("\nWhat Prometheus reads at /metrics", style="bold")
        for line in scrape[:3]:
            console.print(f"  {line}", highlight=False, markup=False)
    console.print("\nStill running", style="bold")
    for name, place in (
        ("Kafka", settings.shown("kafka_bootstrap_servers")),
        ("registry", settings.shown("schema_registry_url")),
        ("PostgreSQL", settings.shown("database_url")),
        ("Parquet", settings.lake_location),
    ):
        console.print(f"  {name:<11}{place}", highlight=False)
    home = settings.source("home")
    nilo = f"nilo --home {settings.home}" if home.startswith("flag") else "nilo"
    console.print("\nTry next", style="bold")
    for command, what in NEXT_STEPS:
        console.print(f"  {nilo} {command}", highlight=False)
        console.print(f"      {what}", style="dim")
