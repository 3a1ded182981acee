"""What is published of a transition: the alert with its evidence, in figures and in words."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import NamedTuple, Protocol

from nilo_schemas.alerts import Alert, AlertState, fingerprint_of
from nilo_schemas.catalogue import Metric
from nilo_schemas.results import SourceRange
from nilo_schemas.rules import Rule
from nilo_schemas.windows import Window
from nilo_stream_processors.engine.detect.life import Change, Life
from nilo_stream_processors.engine.detect.verdicts import Facts
from nilo_stream_processors.engine.detect.wording import filled, labelled
from nilo_stream_processors.engine.series import labels_of

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Found(NamedTuple):
    """What an alert is about: its rule and metric, and the key of its series."""

    rule: Rule
    metric: Metric
    window: Window
    labels: list[str]
    key: str

    def by_name(self) -> dict[str, str]:
        """The labels of the series."""
        return dict(zip(self.labels, labels_of(self.key, len(self.labels)), strict=True))


class Evidence(Protocol):
    """What is known of an alert so far."""

    life: Life
    sources: list[SourceRange]


def time_of(microseconds: int) -> datetime:
    """The time of so many microseconds since 1970 in UTC."""
    return _EPOCH + timedelta(microseconds=microseconds)


def transition(found: Found, change: Change, known: Evidence, facts: Facts, end: int) -> Alert:
    """The alert that tells of a change at the end of a window."""
    rule, life, labels = found.rule, known.life, found.by_name()
    fingerprint = fingerprint_of(rule.name, labels)
    over = life.state in (AlertState.RESOLVED, AlertState.INACTIVE)
    length = found.window.length // timedelta(microseconds=1)
    return Alert(
        # An episode begins once: revisions count within it, so no id comes twice.
        id=f"{fingerprint}-{life.starts_at:x}-{life.revision}",
        fingerprint=fingerprint,
        rule=rule.name,
        kind=rule.kind,
        severity=rule.severity,
        state=change.state,
        previous=change.previous,
        revision=life.revision,
        time=time_of(end),
        starts_at=time_of(life.starts_at),
        ends_at=time_of(end) if over else None,
        labels=labels,
        metric=rule.metric,
        aggregate=_aggregate(rule),
        unit=facts.unit,
        window=found.window.text,
        window_start=time_of(end - length),
        window_end=time_of(end),
        value=facts.value,
        threshold=facts.threshold,
        score=facts.score,
        baseline=facts.baseline,
        spread=facts.spread,
        figures=facts.figures,
        summary=_summary(found, labels),
        reason=f"{facts.text}; {change.reason}" if facts.text else change.reason,
        advice=filled(rule.advice, labels),
        runbook=rule.runbook or "",
        rule_hash=rule.hash,
        flapping=life.flapping,
        hides=rule.hides,
        equal=rule.equal,
        sources=known.sources,
    )


def _aggregate(rule: Rule) -> str:
    if rule.kind == "anomaly":
        return rule.anomaly or ""
    if rule.kind in ("threshold", "change", "ratio", "budget"):
        return rule.condition().aggregate
    return {"burn_rate": "error_ratio", "drift": "count"}.get(rule.kind, "")


def _summary(found: Found, labels: dict[str, str]) -> str:
    about = found.rule.summary or found.metric.description
    told = filled(about, labels)
    # A summary that names no label would be the same for all series.
    return f"{told} ({labelled(labels)})" if told == about and labels else told
