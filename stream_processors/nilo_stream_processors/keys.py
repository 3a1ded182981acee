"""Names as message keys: of series and sources on topics, of cells and windows in changelogs."""

from __future__ import annotations

import json

from nilo_stream_processors.engine.cells import CellKey

Source = tuple[str, int]


def series_name(key: CellKey) -> bytes:
    """One series of one metric: its windows stay in order."""
    return json.dumps([key.metric, *key.dimensions]).encode()


def window_name(key: CellKey) -> bytes:
    """One window of one series."""
    return json.dumps([key.metric, key.start, key.end, *key.dimensions]).encode()


def cell_name(source: Source, key: CellKey) -> bytes:
    """What one source partition holds of a window."""
    return json.dumps([*source, key.metric, key.start, key.end, *key.dimensions]).encode()


def mark_name(source: Source) -> bytes:
    """The watermark of a source partition."""
    return json.dumps(["", *source]).encode()
