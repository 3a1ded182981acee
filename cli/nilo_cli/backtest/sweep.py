"""`--sweep 'threshold=1..5'`: versions of a rule that differ in one number or two."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import product
from typing import Any

from pydantic import ValidationError

from nilo_cli.errors import UsageError
from nilo_schemas.catalogue import Metric
from nilo_schemas.rule_checks import rule_problems
from nilo_schemas.rules import Rule

MOST = 1000  # versions
_NUMBER = r"-?[0-9]+(?:\.[0-9]+)?"
_RANGE = re.compile(rf"({_NUMBER})\.\.({_NUMBER})(?:/({_NUMBER}))?")
# Where the number stands: behind the operator of a condition, at the beginning of other texts.
_IN_CONDITION = re.compile(rf"(?<=[<>=]) *({_NUMBER})")
_AT_BEGINNING = re.compile(rf"({_NUMBER})")
_SPANS = ("for", "keep_firing_for")
_TEXTS = ("clear", "over", "objective")
FIELDS = ("threshold", *_TEXTS, *_SPANS, "min_count")


@dataclass(frozen=True)
class Axis:
    """A number of the rule, and the values that it is to have."""

    field: str
    values: list[Decimal]


@dataclass(frozen=True)
class Point:
    """The rule with one value for each axis."""

    values: tuple[Decimal, ...]
    rule: Rule


def axis_of(text: str) -> Axis:
    """What `threshold=1..5`, `for=1..10/3` or `min_count=10,20,50` means; raises UsageError."""
    field, equals, values = (part.strip() for part in text.partition("="))
    if not equals or field not in FIELDS:
        raise UsageError(
            f"--sweep {text!r}: write FIELD=VALUES, such as threshold=1..5, threshold=1..5/0.5 or "
            f"for=1,2,5; fields: {', '.join(FIELDS)}"
        )
    return Axis(field, list(dict.fromkeys(_values(values, text))))


def _values(text: str, whole: str) -> Iterator[Decimal]:
    match = _RANGE.fullmatch(text)
    if not match:
        for part in (part.strip() for part in text.split(",")):
            if not re.fullmatch(_NUMBER, part):
                raise UsageError(f"--sweep {whole!r}: {part!r} is no number; write 1..5 or 1,2,5")
            yield Decimal(part)
        return
    first, last, step = Decimal(match[1]), Decimal(match[2]), Decimal(match[3] or 1)
    if step <= 0 or last < first:
        raise UsageError(f"--sweep {whole!r}: from the smaller to the larger, by a step above 0")
    if (last - first) / step >= MOST:
        raise UsageError(f"--sweep {whole!r}: more than {MOST:,} values; take a larger step")
    yield from (first + number * step for number in range(int((last - first) / step) + 1))


def points_of(rule: Rule, axes: Sequence[Axis], metrics: Mapping[str, Metric]) -> list[Point]:
    """A version of the rule for each combination of values; raises UsageError."""
    combined = list(product(*(axis.values for axis in axes)))
    if len(combined) > MOST:
        raise UsageError(f"{len(combined):,} versions to sweep: {MOST:,} is the most")
    fields = [axis.field for axis in axes]
    return [Point(values, _version(rule, fields, values, metrics)) for values in combined]


def value_of(rule: Rule, field: str) -> Decimal | None:
    """The number that the rule has now; None when it does not say.

    Raises:
        UsageError: it cannot be swept in this rule.
    """
    if field == "min_count":
        return Decimal(rule.min_count)
    text, pattern = _text(rule, field)
    match = pattern.search(text) if text else None
    return Decimal(match[1]) if match else None


def unit_of(rule: Rule, field: str) -> str:
    """What the number is counted in: what the rule has written behind it."""
    if field == "min_count":
        return "events"
    text, pattern = _text(rule, field)
    match = pattern.search(text) if text else None
    return text[match.end() :].strip() if match else "windows"


def _version(
    rule: Rule, fields: Sequence[str], values: Sequence[Decimal], metrics: Mapping[str, Metric]
) -> Rule:
    told = " ".join(f"{field}={plain(value)}" for field, value in zip(fields, values, strict=True))
    given: dict[str, Any] = rule.model_dump(by_alias=True, exclude_unset=True)
    for field, value in zip(fields, values, strict=True):
        given |= _changes(rule, field, value)
    if "threshold" in fields and "clear" not in fields and rule.clear:
        given["clear"] = _followed(rule, values[fields.index("threshold")])
    try:
        return _checked(Rule.model_validate(given), metrics)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]["msg"]
    except ValueError as error:
        problem = str(error)
    raise UsageError(f"--sweep: {rule.name} with {told}: {problem}")


def _checked(rule: Rule, metrics: Mapping[str, Metric]) -> Rule:
    """The rule; raises ValueError when it says nothing of the metrics."""
    for _, problem in rule_problems(rule, metrics):
        raise ValueError(problem)
    return rule


def _changes(rule: Rule, field: str, value: Decimal) -> dict[str, Any]:
    if field == "min_count":
        return {field: int(value) if value == int(value) else plain(value)}
    text, _ = _text(rule, field)
    key = rule.key if field == "threshold" else field
    return {key: _with(rule, field, value) if text else f"{plain(value)} windows"}


def _text(rule: Rule, field: str) -> tuple[str, re.Pattern[str]]:
    """The text of the rule in which the number of a field stands, and how it is found there."""
    if field == "threshold":
        if rule.kind in ("anomaly", "drift"):
            raise UsageError(f"{rule.name}: {rule.kind} has no threshold of its own to sweep")
        leading = rule.kind in ("burn_rate", "no_data")
        return getattr(rule, rule.key), _AT_BEGINNING if leading else _IN_CONDITION
    text = getattr(rule, "for_" if field == "for" else field)
    if text is None and field not in _SPANS:
        raise UsageError(f"{rule.name} has no `{field}` to sweep")
    return text or "", _IN_CONDITION if field == "clear" else _AT_BEGINNING


def _with(rule: Rule, field: str, value: Decimal) -> str:
    text, pattern = _text(rule, field)
    return pattern.sub(lambda match: match[0].replace(match[1], plain(value)), text, count=1)


def _followed(rule: Rule, threshold: Decimal) -> str:
    """`clear` at the same share of the threshold as it is now."""
    before, clear = value_of(rule, "threshold"), value_of(rule, "clear")
    if not before or clear is None:
        raise UsageError(f"--sweep: {rule.name} clears at a share of 0: sweep `clear` as well")
    return _with(rule, "clear", round(clear * threshold / before, 9))


def plain(value: Decimal) -> str:
    """A number as rules write it."""
    return format(value.normalize(), "f")
