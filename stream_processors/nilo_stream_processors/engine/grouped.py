"""Series by fewer of their labels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nilo_stream_processors.engine.arrays import Texts
from nilo_stream_processors.engine.series import SEPARATOR


def projected(series: Texts, dimensions: Sequence[str], kept: Sequence[str]) -> Texts:
    """The texts of series with only some of their labels, in the order of `kept`."""
    if list(dimensions) == list(kept):
        return series
    places = [dimensions.index(name) for name in kept]
    split = [text.split(SEPARATOR) for text in series.tolist()]
    return texts([SEPARATOR.join([labels[place] for place in places]) for labels in split])


def texts(names: Sequence[str]) -> Texts:
    """Texts as an array."""
    found: Texts = np.empty(len(names), np.object_)
    found[:] = names
    return found
