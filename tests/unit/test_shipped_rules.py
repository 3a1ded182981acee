"""The shipped rules: each says what to do, and fires on the windows that it is there for."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from nilo_schemas.alerts import Alert
from nilo_schemas.catalogue_files import SHIPPED, load_catalogue
from nilo_schemas.errors import CatalogueError
from nilo_schemas.rules import Rule
from nilo_stream_processors.engine.detect.detection import Detection
from tests.windows_of import MINUTE, START, batch, microseconds, window

ROOT = Path(__file__).parents[2]
CATALOGUE = load_catalogue()
# `nilo windows METRIC` and its like in running text.
COMMAND = re.compile(r"`nilo ([a-z]+)(?: ([a-z]+)\b)?")
PAGE = (ROOT / "docs" / "alerts-shipped.md").read_text()
EVENTS: dict[str, str] = {"component": "processors", "subject": "events.llm"}
SHOP = {"subject": "shop", "attributes.topic": "events.llm"}
ATLAS = {"provider": "acme", "model": "atlas"}


@pytest.mark.parametrize("rule", CATALOGUE.rules.values(), ids=lambda rule: rule.name)
def test_every_rule_says_what_it_is_about_and_what_to_do(rule: Rule) -> None:
    assert rule.summary
    assert rule.runbook
    assert (SHIPPED / rule.runbook).read_text().startswith("# ")
    assert re.search(r"[.!;] [A-Z].*\.$", rule.advice), "two sentences: look at, and do"


def test_every_runbook_is_some_rules() -> None:
    used = {SHIPPED / (rule.runbook or "") for rule in CATALOGUE.rules.values()}
    assert used == set((SHIPPED / "runbooks").glob("*.md"))


def test_the_commands_in_runbooks_and_advice_exist() -> None:
    told = (ROOT / "docs" / "cli.md").read_text()
    texts = [path.read_text() for path in (SHIPPED / "runbooks").glob("*.md")]
    texts += [rule.advice for rule in CATALOGUE.rules.values()]
    groups = {"schemas", "topics", "audit"}
    for text in texts:
        for first, second in COMMAND.findall(text):
            command = f"nilo {first} {second}" if first in groups else f"nilo {first}"
            # Those about alerts come to docs/cli.md with their command.
            assert f"`{command}" in told or first == "alerts", command


def test_metrics_in_runbooks_and_advice_exist() -> None:
    texts = [path.read_text() for path in (SHIPPED / "runbooks").glob("*.md")]
    texts += [rule.advice for rule in CATALOGUE.rules.values()]
    named = {name for text in texts for name in re.findall(r"nilo windows ([a-z][\w.]+)", text)}
    assert named <= set(CATALOGUE.metrics)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ('summary: "{shop} is slow"', r"summary: 'shop' is no label of Own; it has provider, mod"),
        ('advice: "Look at {shop}."', r"advice: 'shop' is no label"),
        ("hides: [LlmSlow]\n    equal: [shop]", r"equal: 'shop' is no label"),
        ("by: [shop]", r"by: 'shop' is no dimension of llm.calls; it has provider, model"),
        ('by: [model]\n    summary: "{provider}"', r"summary: 'provider' is no label of Own; it"),
    ],
)
def test_a_label_that_alerts_do_not_have_is_refused(
    tmp_path: Path, lines: str, message: str
) -> None:
    ratio = "ratio: errors / llm.calls.count > 10%"
    (tmp_path / "own.yaml").write_text(
        f"alerts:\n  - name: Own\n    metric: llm.calls\n    {ratio}\n    severity: info\n"
        f"    {lines}\n"
    )
    with pytest.raises(CatalogueError, match=rf"own\.yaml:\d+: alerts\.0\.{message}"):
        load_catalogue(tmp_path)


def fired(
    metric: str, minutes: int, *, topic: str = "events.system", **values: Any
) -> dict[str, Alert]:
    """The rules that fire on so many minutes with such a window of a metric in each."""
    detection = Detection(CATALOGUE, 100)
    also = values.pop("also", {})
    for name, each in {metric: values, **also}.items():
        windows = [window(n, **{"metric": name, "unit": "", **each}) for n in range(minutes)]
        for made in windows:
            detection.add(name, "1m", batch([made]))
    found = detection.advance(topic, microseconds(START + minutes * MINUTE))
    return {alert.rule: alert for alert in found if alert.state == "firing"}


INTAKE = {"pipeline.events_in": {"labels": EVENTS, "count": 6_000}}


def test_lag_is_growing_when_more_waits_than_a_minutes_work() -> None:
    waiting: dict[str, Any] = {"labels": EVENTS, "count": 6, "also": INTAKE}
    assert fired("pipeline.lag", 5, sum=36_000.0, **waiting) == {}
    assert fired("pipeline.lag", 4, sum=60_000.0, **waiting) == {}
    alert = fired("pipeline.lag", 5, sum=60_000.0, **waiting)["LagGrowing"]
    assert alert.summary == "processors of events.llm: more waits than a minute's work"


def test_a_stuck_worker_explains_the_lag_of_its_topic() -> None:
    alert = fired("pipeline.stuck", 1, labels=EVENTS, count=1)["WorkerStuck"]
    assert (alert.severity, alert.hides, alert.equal) == (
        "critical",
        ["LagGrowing"],
        ["component", "subject"],
    )


def test_a_hundred_dead_letters_in_an_hour_are_many_whoever_made_them() -> None:
    assert fired("pipeline.dead_letters", 10, labels=EVENTS, count=10) == {}
    alert = fired("pipeline.dead_letters", 11, labels=EVENTS, count=10)["DlqFilling"]
    assert alert.labels == {"subject": "events.llm"}
    assert "nilo tail dlq.events.llm" in alert.advice


LATE = {"labels": EVENTS, "also": INTAKE}
SINK = {"labels": {"component": "sink-postgres"}, "count": 1}


@pytest.mark.parametrize(
    ("metric", "minutes", "values", "rules"),
    [
        ("pipeline.late", 1, {**LATE, "count": 60}, set()),
        ("pipeline.late", 1, {**LATE, "count": 61}, {"LateShare"}),
        ("pipeline.future", 1, {"labels": EVENTS, "count": 1}, {"ClockSkew"}),
        ("pipeline.sink_trouble", 2, SINK, set()),
        ("pipeline.sink_trouble", 3, SINK, {"SinkFailing"}),
        ("pipeline.producer_drops", 1, {"labels": SHOP, "count": 1}, {"ProducerDrops"}),
    ],
)
def test_the_system_tells_of_itself(
    metric: str, minutes: int, values: dict[str, Any], rules: set[str]
) -> None:
    assert set(fired(metric, minutes, **values)) == rules


@pytest.mark.parametrize(
    ("fill", "rules"),
    [
        (0.79, set()),
        (0.9, {"ProducerQueueFilling"}),
        (0.96, {"ProducerQueueFilling", "ProducerQueueFull"}),
    ],
)
def test_the_kill_switch_is_at_95_percent(fill: float, rules: set[str]) -> None:
    labels = {"subject": "shop"}
    found = fired("pipeline.producer_queue", 1, labels=labels, count=6, sum=6 * fill)
    assert set(found) == rules
    if "ProducerQueueFull" in rules:
        full = found["ProducerQueueFull"]
        assert full.severity == "critical"
        assert full.value == pytest.approx(fill)
        assert full.hides == ["ProducerQueueFilling"]
        assert "Producer.queue_fill" in full.advice


def test_a_model_that_fails_is_told_of_when_there_are_many_calls() -> None:
    values: dict[str, Any] = {"labels": ATLAS, "topic": "events.llm"}
    assert fired("llm.calls", 1, count=99, errors=9, error_ratio=0.09, **values) == {}
    assert fired("llm.calls", 1, count=200, errors=11, error_ratio=0.055, **values) == {}
    found = fired("llm.calls", 1, count=200, errors=17, error_ratio=0.085, **values)
    assert set(found) == {"LlmFailing", "LlmErrorBudget"}
    failing = found["LlmFailing"]
    assert failing.summary == "More than 8 % of the calls of atlas (acme) fail"
    assert "LlmErrorBudget" in failing.hides


def row(rule: Rule) -> str:
    """The line of the table in docs/alerts-shipped.md about a rule."""
    said = getattr(rule, rule.key)
    when = f"`{rule.metric}` {rule.key.replace('_', ' ')} `{said}`"
    for name, value in (("by", rule.by), ("window", rule.window), ("objective", rule.objective)):
        if value:
            when += f", {name} `{', '.join(value) if isinstance(value, list) else value}`"
    if rule.for_:
        when += f", for {rule.for_}"
    if rule.min_count > 1:
        when += f", of {rule.min_count} events or more"
    hides = f" Hides {', '.join(f'`{name}`' for name in rule.hides)}." if rule.hides else ""
    return f"| `{rule.name}` | {rule.severity} | {when} | {rule.advice}{hides} |"


def test_the_page_has_every_shipped_rule_as_it_is() -> None:
    rows = [line for line in PAGE.splitlines() if re.match(r"\| `[A-Z]", line)]
    wanted = [row(rule) for rule in CATALOGUE.rules.values()]
    assert sorted(rows) == sorted(wanted), "\n".join(wanted)
