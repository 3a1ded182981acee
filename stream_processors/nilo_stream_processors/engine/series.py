"""The text of a series: its labels, one behind the other.

Between them stands NUL, which no decoded text has (nilo_schemas.holdable).
"""

from __future__ import annotations

from collections.abc import Sequence

SEPARATOR = "\0"
OTHER = "__other__"


def text_of(labels: Sequence[str]) -> str:
    """The text of a series with these labels."""
    return SEPARATOR.join(labels)


def labels_of(series: str, dimensions: int) -> list[str]:
    """The labels of a series; it has none without dimensions."""
    return series.split(SEPARATOR) if dimensions else []
