"""What retention has taken: where else it can be read."""

from __future__ import annotations

from nilo_cli.replays.stores import EXTENTS
from nilo_schemas.errors import NiloError
from nilo_schemas.settings import Settings
from nilo_stream_processors.replay.errors import GoneError

_NAMES = {"parquet": "the lake", "archive": "the archive"}


def elsewhere(settings: Settings, gone: GoneError) -> str:
    """Which other stores hold the offsets that Kafka has deleted, as the end of a sentence."""
    topic, partition = gone.stretch.source
    found = []
    for store, extents in EXTENTS.items():
        try:
            first, stop = extents(settings, topic, None).get(partition, (0, 0))
        except (NiloError, OSError):
            continue  # what does not answer now is no place to read
        if first <= gone.last and stop > gone.first:
            has = f"{max(first, gone.first)} to {min(stop - 1, gone.last)}"
            found.append(f"{_NAMES[store]} has {has} of them (`--source {store}`)")
    return "; ".join(found) or "no other store has them: begin later (`--from`)"
