"""The lake and the archive with the events of a stream, as the sink and `nilo tiers` leave them."""

from __future__ import annotations

from datetime import timedelta

from nilo_consumers.tiers.run import run
from nilo_schemas.settings import Settings
from tests.bench.measure import wait_until
from tests.bench.nilo_sink import sinking
from tests.bench.servers import BenchError
from tests.bench.stream import Stream
from tests.bench.topic import TOPIC


def with_stores(settings: Settings, name: str) -> Settings:
    """Settings with a lake and an archive of their own; without a database to drop days from."""
    own = {
        "lake": str(settings.home / f"{name}-lake"),
        "archive": settings.home / f"{name}-archive",
    }
    return settings.model_copy(update=own | {"database_url": None})


def fill_lake(settings: Settings, stream: Stream) -> None:
    """Have the sink store a topic that is closed already."""
    events = stream.events + settings.partitions
    with sinking(settings, "parquet") as sink:
        wait_until(lambda: sink.sample().events >= events, "all events are stored")


def move_to_archive(settings: Settings, stream: Stream) -> None:
    """Have the tiers take the lake's days, as on the first day on which they do."""
    today = stream.start.date() + timedelta(days=settings.warm_days + 1)
    for step in run(settings, [TOPIC], today, dry_run=False):
        if step.refused:
            raise BenchError(step.refused)
