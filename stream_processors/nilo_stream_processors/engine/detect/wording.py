"""Numbers, labels and lines of alerts in words."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta

_SHORT = {"seconds": " s", "dollars": " $", "percent": " %", "": ""}
_PLACE = re.compile(r"\{([\w.]+)\}")


def told(value: float, unit: str = "") -> str:
    """A number with four digits that count, and its unit; `share` is told in percent."""
    if unit == "share":
        return f"{100 * value:.4g} %"
    return f"{value:,.4g}{_SHORT.get(unit, ' ' + unit)}"


def span(microseconds: int) -> str:
    """A length of time: `90 s`, `5 min`, `2 h`, `3 days`."""
    seconds = timedelta(microseconds=microseconds) // timedelta(seconds=1)
    for name, length in (("days", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length or (seconds and seconds % length == 0 and seconds >= length):
            return f"{seconds / length:.4g} {name}"
    return f"{seconds} s"


def labelled(labels: Mapping[str, str]) -> str:
    """Labels as one reads them: `model=atlas, provider=acme`."""
    return ", ".join(f"{name}={value}" for name, value in sorted(labels.items()))


def filled(template: str, labels: Mapping[str, str]) -> str:
    """A template with the values of its labels: `{model} answers slowly`."""
    return _PLACE.sub(lambda match: labels.get(match[1], match[0]), template)
