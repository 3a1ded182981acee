"""What retention has taken: what is gone, and where else it can be read."""

from __future__ import annotations

from nilo_cli.cluster import connect, watermarks
from nilo_cli.replays.stores import EXTENTS
from nilo_schemas.errors import NiloError
from nilo_schemas.settings import Settings
from nilo_stream_processors.replay.errors import GoneError

_NAMES = {"parquet": "the lake", "archive": "the archive"}


def told(settings: Settings, gone: GoneError) -> str:
    """What to say when Kafka has deleted offsets of a range; raises UnreachableError."""
    topic, partition = gone.stretch.source
    admin, existing = connect(settings)
    name = settings.topic_prefix + topic
    low, _ = watermarks(admin, {name: existing.get(name, 0)}).get((name, partition), (0, 0))
    last = max(gone.offset, low - 1)
    return (
        f"{topic} partition {partition}: Kafka has deleted the offsets {gone.offset} to {last}; "
        f"{_elsewhere(settings, gone, last)}"
    )


def _elsewhere(settings: Settings, gone: GoneError, last: int) -> str:
    topic, partition = gone.stretch.source
    found = []
    for store, extents in EXTENTS.items():
        try:
            first, stop = extents(settings, topic, None).get(partition, (0, 0))
        except (NiloError, OSError):
            continue  # what does not answer now is no place to read
        if first <= last and stop > gone.offset:
            has = f"{max(first, gone.offset)} to {min(stop - 1, last)}"
            found.append(f"{_NAMES[store]} has {has} of them (`--source {store}`)")
    return "; ".join(found) or "no other store has them: begin later (`--from`)"
