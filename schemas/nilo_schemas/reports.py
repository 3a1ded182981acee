"""What our programs say about themselves, as events of `events.system`.

So the catalogue measures the system as it measures everything else. Counts travel as
`sample_rate`: one event stands for so many.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from nilo_schemas.envelope import Severity
from nilo_schemas.families import SystemEvent

SOURCE = "nilometer"
LAG = "lag"
# By measure (events_in, late, future, dead_letters) and topic without prefix.
TotalsByTopic = Counter[tuple[str, str]]


def sampled(component: str, subject: str, measure: str, **values: Any) -> SystemEvent:
    """A measure of a component: what is measured is the subject, how much is in the values."""
    topic = values.pop("topic", None)
    about = {"measure": measure} | ({"topic": topic} if topic else {})
    return SystemEvent(
        type="resource.sampled",
        source=SOURCE,
        component=component,
        subject=subject,
        attributes=about,
        **values,
    )


def health(component: str, subject: str, status: str, message: str = "") -> SystemEvent:
    """How a component is: `ok`, or another word, and then the line that says why."""
    return SystemEvent(
        type="health.changed",
        source=SOURCE,
        component=component,
        subject=subject,
        severity=Severity.INFO if status == "ok" else Severity.ERROR,
        status=status,
        message=message or None,
    )


def counts_and_lag(
    component: str, counted: TotalsByTopic, lag: Mapping[str, int]
) -> list[SystemEvent]:
    """The events that tell what was counted by measure and topic, and the lag of each topic.

    Nothing is told of `events.system`: the reports are in it, and would keep us talking for ever.
    """
    told = [
        sampled(component, topic, measure, sample_rate=count)
        for (measure, topic), count in sorted(counted.items())
        if topic != SystemEvent.kafka_topic
    ]
    busy = {event.subject for event in told}
    return told + [
        sampled(component, topic, LAG, queue_depth=depth)
        for topic, depth in sorted(lag.items())
        if topic in busy or (depth and topic != SystemEvent.kafka_topic)
    ]
