"""Why a rule could not tell though there was a window: what it has not seen enough of."""

from __future__ import annotations

from nilo_cli.rerun.recorder import Look
from nilo_schemas.rules import Rule
from nilo_stream_processors.engine.detect.drift import LEAST_NOW, LEAST_SEEN
from nilo_stream_processors.engine.detect.drift import WARM_UP as MIXES


def untold(rule: Rule, look: Look) -> tuple[str, str] | None:
    """One word and a line about what was missing; None when it could tell."""
    warm = _warming(look)
    if warm is not None:
        return warm
    if look.verdict is not None:
        return None
    if rule.kind == "drift":
        return _drifting(rule, look)
    if look.count < rule.min_count:
        return (
            "too_few",
            f"not seen enough: the window has {look.count} of the {rule.min_count} events of "
            "min_count",
        )
    if rule.kind == "change":
        return "no_past", f"not seen enough: no window {rule.over} before, or its value was 0"
    return "no_value", "the window has events but no value that the rule could look at"


def _warming(look: Look) -> tuple[str, str] | None:
    """Of what is learnt by points."""
    figures = look.facts.figures if look.facts else {}
    seen, needed = figures.get("windows_seen"), figures.get("warm_up")
    if seen is None or needed is None or seen > needed:
        return None
    return "warm_up", f"not seen enough: {seen:.0f} of {needed:.0f} points to learn from"


def _drifting(rule: Rule, look: Look) -> tuple[str, str]:
    windows, events = look.seen or (0, 0.0)
    if windows <= MIXES and rule.against is None:
        return "warm_up", f"not seen enough: {windows} of {MIXES} windows to learn the mix from"
    if events < LEAST_SEEN and rule.against is None:
        told = f"{events:.0f} of {LEAST_SEEN} events to learn the mix from"
        return "warm_up", f"not seen enough: {told}"
    told = f"the last windows have {look.count} events; a mix needs {LEAST_NOW}"
    return "too_few", f"not seen enough: {told}"
