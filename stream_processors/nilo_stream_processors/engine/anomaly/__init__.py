"""Anomalies of series of windows: one streaming detector, one configuration for everything."""

from nilo_stream_processors.engine.anomaly.detectors import (
    THRESHOLD,
    WARM_UP,
    Detectors,
    Judged,
    ValueRefusedError,
)
from nilo_stream_processors.engine.anomaly.shapes import Shape, phrase

__all__ = ["THRESHOLD", "WARM_UP", "Detectors", "Judged", "Shape", "ValueRefusedError", "phrase"]
