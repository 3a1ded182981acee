"""Names and labels that Prometheus accepts."""

from __future__ import annotations

import re
from collections.abc import Mapping

_FOREIGN = re.compile(r"[^a-zA-Z0-9_]")
# Ours, of classic buckets, and those that Prometheus and its push gateway set by themselves.
_RESERVED = frozenset({"window", "le", "job", "instance"})


def metric_name(metric: str, aggregate: str, unit: str = "") -> str:
    """`nilo_<metric>_<aggregate>[_<unit>]` with every foreign character an underscore."""
    parts = ["nilo", metric, aggregate, *([unit] if unit else [])]
    return _FOREIGN.sub("_", "_".join(parts))


def label_name(dimension: str) -> str:
    """A dimension as a label name; `dim_` goes before what is reserved or begins wrongly."""
    name = _FOREIGN.sub("_", dimension)
    wrong = name in _RESERVED or name.startswith("__") or not name or name[0].isdigit()
    return f"dim_{name}" if wrong else name


def labels_of(dimensions: Mapping[str, str]) -> dict[str, str]:
    """The labels of a series; of two dimensions with one label name the later gets a `_`."""
    labels: dict[str, str] = {}
    for dimension in sorted(dimensions):
        name = label_name(dimension)
        while name in labels:
            name += "_"
        labels[name] = dimensions[dimension]
    return labels
