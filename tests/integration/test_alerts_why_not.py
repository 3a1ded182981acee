"""`nilo alerts why-not` and `nilo advise` on what real processors have published."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from nilo_schemas.settings import Settings
from tests.alerts import published
from tests.integration.programs import free_port, healthy, nilo, running, wait_for
from tests.integration.sinking import send, sinking, wait_count
from tests.integration.test_alerts import CATALOGUE, START, calls, emit, story
from tests.integration.windows import newest_windows
from tests.windows_of import window

pytestmark = pytest.mark.integration


@pytest.fixture
def ruled(settings: Settings, tmp_path: Path) -> Settings:
    """Settings with a catalogue of rules."""
    folder = tmp_path / "catalogue"
    folder.mkdir()
    (folder / "own.yaml").write_text(CATALOGUE)
    return settings.model_copy(update={"catalogue": folder})


def at(second: int) -> datetime:
    return START + timedelta(seconds=second)


def why_not(settings: Settings, rule: str, second: int, *words: str) -> dict[str, Any]:
    given = ("--at", at(second).isoformat(), "--json", *words)
    done = nilo(settings, "alerts", "why-not", rule, *given)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def kinds(answer: dict[str, Any]) -> list[str]:
    return [reason["kind"] for reason in answer["reasons"]]


def stored(settings: Settings) -> int:
    """How many final windows of the own metrics PostgreSQL has."""
    done = nilo(settings, "windows", "own.duration", "--json")
    return len(done.stdout.splitlines())


def test_the_rule_is_run_again_as_the_processors_ran_it_from_either_store(
    ruled: Settings, tmp_path: Path
) -> None:
    port = free_port()
    emit(ruled, calls(0, 180))
    with (
        running(ruled, "process", "--metrics-port", port, log=tmp_path / "worker.log"),
        sinking("postgres", ruled, topics=["metrics.windows"]),
        sinking("parquet", ruled, topics=["metrics.windows"]),
    ):
        wait_for("worker", lambda: healthy(port))
        wait_for("alerts", lambda: len(story(published(ruled))) >= 5)
        known = len([w for w in newest_windows(ruled).values() if w.metric == "own.duration"])
        wait_for("stored windows", lambda: stored(ruled) >= known - 2)

    for store in ("kafka", "postgres", "parquet"):
        words = ("--key", "model=b", "--from", store)
        pending = why_not(ruled, "OwnSlow", 115, *words)
        assert kinds(pending) == ["pending", "met"], store
        assert pending["reasons"][0]["text"] == "pending, 1 of 2 windows"
        assert kinds(why_not(ruled, "OwnFailing", 95, *words)) == ["not_met", "resolved"]
    # Nothing of "unpublished": the processors said the same.
    assert kinds(why_not(ruled, "OwnSlow", 130, "--key", "model=b")) == ["firing"]
    calm = why_not(ruled, "OwnSilent", 130, "--key", "model=a")
    assert (kinds(calm), calm["state"]) == (["not_met"], "inactive")
    refused = nilo(ruled, "alerts", "why-not", "OwnSlow", "--key", "model=c", "--at", "2026-01-02")
    assert refused.returncode == 2
    assert "near ones: model=b; model=a" in refused.stderr


def test_advice_is_the_same_from_every_store(settings: Settings) -> None:
    begun = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(hours=2)
    slow = [
        window(
            0,
            {"provider": "acme", "model": "atlas"},
            metric="llm.duration",
            window_start=begun + minute * timedelta(minutes=1),
            window_end=begun + (minute + 1) * timedelta(minutes=1),
            quantiles={"p95": 60.0 if minute < 40 else 1.0},
        )
        for minute in range(60)
    ]
    send(settings, slow, partition=0)
    with sinking("postgres", settings), sinking("parquet", settings):
        for store in ("postgres", "parquet"):
            wait_count(store, settings, len(slow), "metrics.windows")

    told = {}
    for store in ("kafka", "postgres", "parquet"):
        done = nilo(settings, "advise", "--days", "1", "--from", store, "--json")
        assert done.returncode == 0, done.stderr
        told[store] = [json.loads(line) for line in done.stdout.splitlines()]
    assert told["kafka"] == told["postgres"] == told["parquet"]
    (mostly,) = (each for each in told["kafka"] if each["kind"] == "always_fires")
    assert mostly["about"] == "LlmSlow"
    assert 0.6 <= mostly["figures"]["share"] <= 0.7
