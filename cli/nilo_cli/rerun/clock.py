"""What time it is for the events of a family, by the windows that were published last."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime

from nilo_cli.offset_ranges import decoder_of, messages_of
from nilo_cli.rerun.slices import windows_held
from nilo_cli.times import microseconds
from nilo_consumers.decoding import by_partition
from nilo_schemas.settings import Settings

_LAST = 1000  # messages of each partition


def clock_of(settings: Settings, metrics: Collection[str]) -> int:
    """The newest end of a final window of these metrics, and what has passed since it came; µs.

    In silence the clock of the processors goes on as ours does. 0 when there is no such window.

    Raises:
        UnreachableError: no broker answers.
    """
    ranges = {
        place: (max(low, high - _LAST), high)
        for place, (low, high) in windows_held(settings)[1].items()
    }
    decoder = decoder_of(settings)
    newest, taken = 0, 0
    for messages in messages_of(settings, ranges):
        for place, group in by_partition(messages).items():
            chunk, _ = decoder.chunk(place, 0, group)
            names = ("metric", "final", "window_end")
            for metric, final, end in zip(
                *(chunk.rows[name].to_pylist() for name in names), strict=True
            ):
                if final and metric in metrics:
                    newest = max(newest, microseconds(end))
        taken = max([taken, *(message.timestamp()[1] for message in messages)])
    passed = microseconds(datetime.now(UTC)) - 1000 * taken
    return newest + max(0, passed) if newest else 0
