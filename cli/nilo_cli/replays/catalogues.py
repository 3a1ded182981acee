"""The catalogue of a replay: what of it is needed, narrowed to the events that are wanted."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from nilo_cli.errors import UsageError
from nilo_schemas.catalogue import Catalogue, Condition, field_kind
from nilo_schemas.envelope import Event
from nilo_schemas.families import family_of_topic
from nilo_schemas.rules import Rule


def narrowed(catalogue: Catalogue, topics: Collection[str], where: Mapping[str, str]) -> Catalogue:
    """The metrics of these topics and their rules, of events whose fields have these values.

    Topics whose events have no such fields are left out.

    What an event must be is asked by the metrics: so the watermark still moves by all events, and
    what is late is what was late.

    Raises:
        UsageError: no topic has such fields, or the metrics ask for them already.
    """
    asked = {topic: _conditions(topic, where) for topic in topics if _has_all(topic, where)}
    if not asked:
        raise UsageError(f"--where: no topic of {', '.join(topics)} has {', '.join(where)}")
    metrics = {}
    for name, metric in catalogue.metrics.items():
        if metric.event in asked:
            has, wanted = metric.where, asked[metric.event]
            if all(_goes_with(has[each], wanted[each], name) for each in wanted if each in has):
                metrics[name] = metric.model_copy(update={"where": has | wanted})
    rules = {name: rule for name, rule in catalogue.rules.items() if _can_look(rule, metrics)}
    return Catalogue(metrics=metrics, rules=rules)


def _goes_with(has: Condition, wanted: Condition, metric: str) -> bool:
    """Whether an event may meet both; then the second one says it all."""
    if not has.any_of:
        raise UsageError(f"--where: metric {metric} asks something of this field already")
    return wanted.any_of[0] in has.any_of


def _can_look(rule: Rule, metrics: Collection[str]) -> bool:
    others = {rule.condition().other or ""} if rule.kind == "ratio" else set[str]()
    return {rule.metric, *others} <= set(metrics)


def _has_all(topic: str, names: Iterable[str]) -> bool:
    fields = family_of_topic(topic).model_fields
    return all(name in fields or name.startswith("attributes.") for name in names)


def _conditions(topic: str, where: Mapping[str, str]) -> dict[str, Condition]:
    family = family_of_topic(topic)
    found = {}
    for name, text in where.items():
        found[name] = Condition(any_of=[_value(family, name, text)])
    return found


def _value(family: type[Event], name: str, text: str) -> str | int | float | bool:
    kind = str if name.startswith("attributes.") else field_kind(family, name)
    try:
        if kind is bool:
            return {"true": True, "false": False}[text]
        return kind(text) if kind in (int, float) else text
    except (ValueError, KeyError):
        raise UsageError(f"--where {name}: {text!r} is no {kind.__name__}") from None


def to_json(catalogue: Catalogue) -> dict[str, Any]:
    """A catalogue as the manifest of a replay has it."""
    told: dict[str, Any] = catalogue.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    return told
