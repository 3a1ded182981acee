"""Run a sink by its name."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext

from nilo_consumers.asking import Work, asking
from nilo_consumers.delta import DeltaSink
from nilo_consumers.errors import UnknownSinkError
from nilo_consumers.exemplars import Exemplars
from nilo_consumers.group import group_id
from nilo_consumers.influx import InfluxSink
from nilo_consumers.lag import LagCollector
from nilo_consumers.metrics import SinkMetrics
from nilo_consumers.postgres import PostgresSink
from nilo_consumers.prometheus import PrometheusSink
from nilo_consumers.pushgateway import PushgatewaySink
from nilo_consumers.reporting import reporting
from nilo_consumers.runner import Runner
from nilo_consumers.series import WindowCollector
from nilo_consumers.server import serving
from nilo_consumers.sink import Sink
from nilo_consumers.sqlite import SqliteSink
from nilo_consumers.tables import WINDOWS
from nilo_schemas.contracts import stored_records
from nilo_schemas.settings import Settings

SINKS = ("postgres", "parquet", "sqlite", "prometheus", "influx", "pushgateway")
_OF_STORES = ("postgres", "parquet", "sqlite")  # the others take the windows only
PROMETHEUS_PORT = 9464


def run_sink(
    name: str,
    settings: Settings,
    *,
    stop: threading.Event,
    topics: Sequence[str] | None = None,
    metrics_host: str = "127.0.0.1",
    metrics_port: int | None = None,
    on_ready: Callable[[str | None], None] | None = None,
) -> None:
    """Run a sink until `stop` is set; then it writes what it holds and leaves its group.

    Args:
        name: one of SINKS.
        settings: where Kafka, the registry and the store are.
        stop: set it (from a signal handler, say) to stop in good order.
        topics: topics without prefix (default: the windows; for `postgres`, `parquet` and
            `sqlite` the alerts and every event family as well).
        metrics_host: where /metrics and /health listen.
        metrics_port: their port; 0 takes a free one, None means no server, but for `prometheus`
            9464.
        on_ready: called once partitions are assigned and positioned, with the URL of the server or
            None.

    Raises:
        UnknownSinkError: no sink has this name.
        NiloError: a terminal error; transient ones are waited out.
    """
    if name not in SINKS:
        raise UnknownSinkError(f"no sink is called {name!r}; there are {', '.join(SINKS)}")
    metrics = SinkMetrics(name, group_id(settings, name))
    sink, work = _sink(name, settings, metrics)
    wanted = list(topics) if topics is not None else _topics(name)
    port = PROMETHEUS_PORT if metrics_port is None and name == "prometheus" else metrics_port
    native = settings.prometheus_histograms == "native"
    serve = (
        nullcontext(None) if port is None else serving(metrics, metrics_host, port, native=native)
    )
    asks = asking(settings, work) if work else nullcontext()
    with serve as url, asks, reporting(name, settings, metrics):
        Runner(
            sink,
            settings,
            [settings.topic_prefix + topic.removeprefix(settings.topic_prefix) for topic in wanted],
            stop=stop,
            metrics=metrics,
            on_ready=lambda: on_ready(url) if on_ready else None,
        ).run()


def _topics(name: str) -> list[str]:
    return list(stored_records()) if name in _OF_STORES else [WINDOWS]


def _sink(name: str, settings: Settings, metrics: SinkMetrics) -> tuple[Sink, list[Work]]:
    """The sink of a name, and what is to be asked of Kafka beside it."""
    if name == "postgres":
        return PostgresSink(settings, metrics.registry), []
    if name == "parquet":
        return DeltaSink(settings), []
    if name == "sqlite":
        return SqliteSink(settings), []
    if name == "influx":
        return InfluxSink(settings), []
    collector = WindowCollector(time.monotonic, settings.prometheus_series_cap)
    metrics.registry.register(collector)
    if name == "pushgateway":
        return PushgatewaySink(settings, collector, metrics.registry), []
    lag = LagCollector(settings)
    metrics.show_all_groups(lag)
    return PrometheusSink(collector), [lag.measure, Exemplars(settings, collector).read]
