"""Constants for arrays."""

from __future__ import annotations

from typing import Any

import numpy as np


def fixed(value: float) -> np.ndarray[Any, Any]:
    """A constant as an array of no dimension: numpy would make one of a number at each use.

    With a few series a step is dozens of such uses, and this makes each of them a third shorter.
    """
    return np.array(value)
