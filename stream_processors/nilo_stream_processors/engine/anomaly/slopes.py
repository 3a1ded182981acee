"""The slope of a regression through the origin, followed point by point."""

from __future__ import annotations

import numpy as np

from nilo_stream_processors.engine.arrays import Floats


def follow_slope(means: Floats, x: Floats, y: Floats, rate: Floats) -> None:
    """Move the means of x * y and of x * x; the first over the second is the slope of y on x.

    Args:
        means: of both, by series.
        x, y: the newest point of each series.
        rate: its weight.
    """
    products = np.empty(means.shape)
    np.multiply(x, y, out=products[0])
    np.multiply(x, x, out=products[1])
    products -= means
    products *= rate
    means += products
