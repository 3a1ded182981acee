"""The Faust app: two agents around the engine, their state, and the pages of the worker."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import faust
from yarl import URL

from nilo_schemas.catalogue_files import load_catalogue
from nilo_schemas.registry import Registry
from nilo_schemas.results import PROCESSORS_GROUP
from nilo_schemas.settings import Settings
from nilo_stream_processors.aggregator import Aggregator
from nilo_stream_processors.consumer_thread import HEARTBEAT_SECONDS, SESSION_SECONDS
from nilo_stream_processors.counters import Counters
from nilo_stream_processors.keeper import Keeper
from nilo_stream_processors.merger import Merger
from nilo_stream_processors.outbox import Outbox
from nilo_stream_processors.recovery import Tables
from nilo_stream_processors.reporter import Reporter
from nilo_stream_processors.security import ssl_context
from nilo_stream_processors.watch import Watch, exit_after

COMMIT_SECONDS = 0.5
FETCH_RECORDS = 10_000
# So old may be what we know of topics and their partitions. A change makes the group join anew.
METADATA_MILLISECONDS = 30_000
# A stop takes a few seconds. What takes so long hangs, and a supervisor would kill it soon.
STOP_SECONDS = 20.0
_HANGS = (
    "not stopped after %s s (is the broker away?): leaving, with where it hangs for a report; "
    "nothing is lost, the next worker goes on from the last commit"
)
log = logging.getLogger(__name__)


class NiloApp(faust.App):
    """A Faust app with a keeper of state, and with somebody who looks after it.

    It is alone in its process, which ends with it: see `exit_after`.
    """

    keeper: Keeper
    watch: Watch

    def lease(self) -> float:
        """Until when (`lease_clock`) the partitions of this worker are nobody else's."""
        consumer: Any = self.consumer
        return float(consumer.lease())

    async def on_start(self) -> None:
        """Begin to look after it."""
        await super().on_start()
        await self.add_runtime_dependency(self.watch)

    async def on_stop(self) -> None:
        """Stop; what hangs in it does not keep the process."""
        exit_after(STOP_SECONDS)
        self.loop.call_later(STOP_SECONDS - 1, log.warning, _HANGS, STOP_SECONDS)
        await super().on_stop()


def create_app(settings: Settings, *, web_port: int, web_host: str = "127.0.0.1") -> NiloApp:
    """The app of one worker.

    Raises:
        SettingsError: no broker or registry is known.
        CatalogueError: the catalogue is refused.
    """
    catalogue, registry, counters = (
        load_catalogue(settings.catalogue),
        Registry(settings),
        Counters(),
    )
    app = NiloApp(
        settings.topic_prefix + PROCESSORS_GROUP,
        broker=[URL(f"nilo://{address}") for address in settings.brokers().split(",")],
        broker_credentials=_credentials(settings),
        broker_commit_interval=COMMIT_SECONDS,
        broker_session_timeout=SESSION_SECONDS,
        broker_heartbeat_interval=HEARTBEAT_SECONDS,
        broker_rebalance_timeout=4 * SESSION_SECONDS,
        broker_max_poll_records=FETCH_RECORDS,
        consumer_metadata_max_age_ms=METADATA_MILLISECONDS,
        store="memory://",
        TableManager=Tables,
        topic_partitions=settings.partitions,
        topic_replication_factor=settings.replication_factor,
        topic_disable_leader=True,
        stream_recovery_delay=0.0,
        stream_wait_empty=True,
        web_host=web_host,
        web_port=web_port,
        web_bind=web_host,
        datadir=_datadir(settings),
    )
    outbox = Outbox(settings, app.lease)
    aggregator = Aggregator(app, settings, catalogue, registry, outbox=outbox, counters=counters)
    merger = Merger(app, settings, catalogue, registry, outbox=outbox, counters=counters)
    reporter = Reporter(outbox, settings, registry, counters=counters, lag=aggregator.lag)
    app.keeper = Keeper(app, aggregator, merger, reporter, outbox=outbox)
    app.watch = Watch(app, settings, reporter)
    _add_agents(app, aggregator, merger)
    _add_pages(app, counters)
    return app


def _add_agents(app: NiloApp, aggregator: Aggregator, merger: Merger) -> None:
    for name, topics, stage in (
        ("aggregate", aggregator.topics, aggregator),
        ("merge", [merger.topic], merger),
    ):
        channel = app.topic(*topics, key_serializer="raw", value_serializer="raw")

        @app.agent(channel, name=name)
        async def run(stream: Any, stage: Aggregator | Merger = stage) -> None:
            await _run(app, stream, stage)


async def _run(app: NiloApp, stream: Any, stage: Aggregator | Merger) -> None:
    events: AsyncIterator[Any] = stream.events()
    consumer: Any = app.consumer
    async for event in events:
        try:
            if await consumer.follows(event.message.tp, event.message.value):
                await stage.take(event.message.tp, event.message.value)
        except Exception as error:
            # Faust would restart the agent and go on behind this chunk: stop before that.
            log.exception("%s offset %s failed", event.message.tp, event.message.offset)
            await app.crash(error)
            raise


def _add_pages(app: NiloApp, counters: Counters) -> None:
    @app.page("/metrics")
    async def metrics(web: Any, request: Any) -> Any:
        return web.bytes(counters.text(), content_type="text/plain; version=0.0.4")

    @app.page("/health")
    async def health(web: Any, request: Any) -> Any:
        body = health_of(app)
        return web.json(body, status=200 if body["status"] == "ok" else 503)


def health_of(app: NiloApp) -> dict[str, Any]:
    """What `/health` says: `ok`, `starting` (also at a rebalance), or `stuck`, and where."""
    if app.watch.stuck:
        now = datetime.now(UTC)
        stuck = [
            {
                "name": one.name,
                "since": (now - timedelta(seconds=one.seconds)).isoformat(timespec="seconds"),
                "behind": one.left,
            }
            for one in app.watch.stuck
        ]
        return {"status": "stuck", "stuck": stuck}
    ready = app.started and not app.rebalancing and not app.should_stop
    return {"status": "ok" if ready else "starting"}


def _datadir(settings: Settings) -> Path:
    """Faust wants a folder, though tables in memory leave nothing in it."""
    folder = settings.home / "faust"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _credentials(settings: Settings) -> Any:
    protocol = settings.kafka_security_protocol
    context = ssl_context(settings) if protocol.endswith("SSL") else None
    if not protocol.startswith("SASL"):
        return faust.SSLCredentials(context) if context else None
    assert settings.kafka_sasl_password is not None  # noqa: S101  Settings has checked it
    return faust.SASLCredentials(
        username=settings.kafka_sasl_username,
        password=settings.kafka_sasl_password.get_secret_value(),
        mechanism=settings.kafka_sasl_mechanism,
        ssl_context=context,
    )
