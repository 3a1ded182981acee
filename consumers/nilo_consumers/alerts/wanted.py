"""Which alerts somebody wants: by severity, rule, labels and state."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import get_args

from nilo_schemas.alerts import Alert, AlertState, RuleSeverity

SEVERITIES: tuple[str, ...] = get_args(RuleSeverity)
OneOrMore = str | Collection[str]


@dataclass(frozen=True)
class Wanted:
    """A condition on alerts; None: any. The labels of an alert may have others beside these."""

    severity: frozenset[str] | None = None
    rule: frozenset[str] | None = None
    state: frozenset[str] | None = None
    labels: Mapping[str, str] = field(default_factory=dict)

    def __call__(self, alert: Alert) -> bool:
        """Whether an alert is wanted."""
        return (
            (self.severity is None or alert.severity in self.severity)
            and (self.rule is None or alert.rule in self.rule)
            and (self.state is None or alert.state in self.state)
            and self.labels.items() <= alert.labels.items()
        )


def wanted(
    severity: OneOrMore | None = None,
    rule: OneOrMore | None = None,
    state: OneOrMore | None = None,
    labels: Mapping[str, str] | None = None,
) -> Wanted:
    """The condition of one or more severities, rules and states, and labels.

    Raises:
        ValueError: there is no such severity or state, or nothing is left to be wanted.
    """
    return Wanted(
        _known("severity", severity, SEVERITIES),
        _known("rule", rule, None),
        _known("state", state, list(AlertState)),
        dict(labels or {}),
    )


def _known(
    what: str, values: OneOrMore | None, known: Iterable[str] | None
) -> frozenset[str] | None:
    if values is None:
        return None
    found = frozenset([values] if isinstance(values, str) else values)
    strange = sorted(found - set(known)) if known is not None else []
    if strange or not found:
        given = repr(strange[0]) if strange else "an empty collection"
        choices = f"; known: {', '.join(known)}" if known is not None else ""
        raise ValueError(f"{what}: {given} matches no alert{choices}")
    return found
