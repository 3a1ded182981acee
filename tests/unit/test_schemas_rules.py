"""Rules of the catalogue: what they may say, and what is refused with file and line."""

from __future__ import annotations

from pathlib import Path

import pytest

from nilo_schemas.catalogue_files import load_catalogue
from nilo_schemas.errors import CatalogueError
from nilo_schemas.rule_checks import bound_of, rule_window

METRIC = """
metrics:
  own.duration:
    description: d
    owner: o
    event: events.llm
    value: duration
    unit: seconds
    error_when: {status: ERROR}
    dimensions: [model, source]
    windows: [10s, 1m]
    aggregates: [count, errors, mean, quantiles]
    alerts:
      - {name: OwnRule, severity: warning, RULE}
  own.chats:
    description: d
    owner: o
    event: events.chat
    windows: [1m]
    aggregates: [count]
"""


def write(folder: Path, rule: str, file: str = "own.yaml") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / file).write_text(METRIC.replace("RULE", rule))
    return folder


@pytest.mark.parametrize(
    ("rule", "word"),
    [
        ("when: p95 > 2s, change: mean > 5%", "exactly one of"),
        ("severity: warning", "exactly one of"),
        ("when: p95 above 2", "is no condition"),
        ("when: p97 > 2s", "no aggregate 'p97'"),
        ("when: p95 > 2kB", "has no unit 'kB'; it takes us"),
        ("when: count > 2s", "count has no unit 's'"),
        ("when: p95 > 2s, for: soon", "write `3 windows`"),
        ("when: p95 > 2s, window: 7m", "no window '7m'; it has 10s, 1m, 5m"),
        ("when: p95 > 2s, over: 1h", "'over' has no meaning beside when"),
        ("when: p95 > 2s, clear: p95 < 3s", "on the other side"),
        ("when: p95 > 2s, clear: mean < 1s", "same aggregate"),
        ("when: p95 > 2s, clear: p95 > 1s", "on the other side"),
        ("when: mean > 2s, equal: [colour]", "'colour' is no label of OwnRule"),
        ("when: mean > 2s, hides: [Nobody]", "no alert has the name 'Nobody'"),
        ("when: mean > 2s, runbook: runbooks/gone.md", "no file 'runbooks/gone.md'"),
        ("change: mean > 50, over: 5m", "a change is a share"),
        ("change: mean > 50%, over: 90s", "must be 1 to 200 windows"),
        ("change: mean > 50%, over: 1d", "must be 1 to 200 windows"),
        ("ratio: count / own.nothing.count > 1%", "unknown metric 'own.nothing'"),
        ("ratio: count / own.chats.count > 1%", "must be of one family"),
        ("ratio: count / llm.retries.count > 1%, window: 10s", "choose one that both have"),
        ("ratio: mean / llm.calls.count > 1%", "does not add up"),
        ("ratio: count > 1%", "a ratio is written"),
        ("budget: count > 5", "a budget is written"),
        ("budget: count > 5 per week", "per 'week': there are hour, day, run"),
        ("budget: mean > 5s per day", "a budget is how much"),
        ("budget: count > 5 per day, by: [colour]", "'colour' is no dimension"),
        ("no_data: soon", "whole number"),
        ("anomaly: median", "no aggregate 'median'"),
        ("drift: colour", "'colour' is no dimension"),
        ("drift: model, against: {a: 0.5, b: 0.4}", "add up to 1"),
        ("burn_rate: fast, objective: 99%", "write it as `14.4 over 1h`"),
        ("burn_rate: 14.4 over 1h, objective: 100%", "write a share"),
        ("burn_rate: 14.4 over 7m, objective: 99%", "do not fit into a sixtieth"),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused_with_file_and_line(
    rule: str, word: str, tmp_path: Path
) -> None:
    with pytest.raises(CatalogueError) as refused:
        load_catalogue(write(tmp_path / "own", rule))
    assert f"{tmp_path}/own/own.yaml:14: own.duration.alerts.0" in str(refused.value)
    assert word in str(refused.value)


@pytest.mark.parametrize(
    ("rule", "bound"),
    [
        ("when: p95 > 500ms", 0.5),
        ("when: p95 > 2m", 120),
        ("when: mean >= 0.25", 0.25),
        ("when: error_ratio > 5%", 0.05),
        ("when: rate > 60/m", 1),
        ("when: count < 5", 5),
    ],
)
def test_a_bound_is_in_the_unit_of_its_aggregate(rule: str, bound: float, tmp_path: Path) -> None:
    found = load_catalogue(write(tmp_path / "own", rule))
    made = found.rules["OwnRule"]
    metric = found.metrics["own.duration"]
    assert bound_of(made.condition(), metric) == pytest.approx(bound)
    # the longest of the metric's own windows, not of its rollups
    assert rule_window(made, metric).text == "1m"


def test_a_rule_may_stand_by_itself_on_a_metric_that_is_shipped(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(
        "alerts:\n"
        "  - {name: OwnSlow, metric: llm.duration, when: p95 > 9s, severity: info}\n"
        "  - {name: LlmSlow, metric: llm.duration, when: p95 > 5s, severity: critical}\n"
        "  - {name: LlmSilent, metric: llm.duration, no_data: 5m, severity: info, enabled: false}\n"
    )
    rules = load_catalogue(tmp_path).rules
    assert rules["OwnSlow"].metric == "llm.duration"
    assert rules["LlmSlow"].severity == "critical"
    assert "LlmSilent" not in rules


def test_a_rule_of_an_unknown_metric_is_refused(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(
        "alerts:\n  - {name: Own, metric: own.gone, no_data: 5m, severity: info}\n"
    )
    with pytest.raises(CatalogueError, match=r"own\.yaml:2: alerts\.0\.metric: unknown metric"):
        load_catalogue(tmp_path)


def test_two_rules_of_one_name_are_refused(tmp_path: Path) -> None:
    one = "  - {name: Own, metric: llm.duration, no_data: 5m, severity: info}\n"
    (tmp_path / "own.yaml").write_text("alerts:\n" + 2 * one)
    with pytest.raises(CatalogueError, match=r"own\.yaml:3: alerts\.1: .*of the name Own"):
        load_catalogue(tmp_path)


def test_a_metric_laid_over_another_brings_its_own_rules(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(
        "metrics:\n  llm.duration:\n    description: d\n    owner: o\n    event: events.llm\n"
        "    windows: [1m]\n    aggregates: [count]\n"
    )
    rules = load_catalogue(tmp_path).rules
    assert not [name for name, rule in rules.items() if rule.metric == "llm.duration"]


def test_the_hash_of_a_rule_changes_with_anything_in_it(tmp_path: Path) -> None:
    hashes = {
        load_catalogue(write(tmp_path / "own", rule)).rules["OwnRule"].hash
        for rule in ("when: p95 > 2s", "when: p95 > 3s", "when: p95 > 2s, for: 2 windows")
    }
    assert len(hashes) == 3
