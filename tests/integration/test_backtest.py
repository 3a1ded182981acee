"""`nilo replay backtest` on what real processors made of events and real sinks have stored."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from nilo_cli.rerun.slices import Wanted, slices
from nilo_schemas.alerts import Alert, AlertState
from nilo_schemas.catalogue_files import load_catalogue
from nilo_schemas.families import LlmEvent
from nilo_schemas.settings import Settings
from tests.alerts import published
from tests.integration.programs import free_port, healthy, nilo, running, wait_for
from tests.integration.sinking import sinking
from tests.integration.test_alerts import emit
from tests.integration.windows import newest_windows

pytestmark = pytest.mark.integration
PAGE = (Path(__file__).parents[2] / "docs" / "backtest.md").read_text()
START = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(hours=3)
MINUTES = 100
# The shipped rules, and how often model b is slow or silent enough for them.
FIRINGS = {"LlmSlow": 2, "LlmSilent": 1}
KIND = "llm.duration", "1m"


def at(minute: float) -> datetime:
    return START + timedelta(minutes=minute)


def calls() -> Iterator[LlmEvent]:
    """Twelve a minute of two models; b is slow from 10 to 20 and 40 to 52, silent from 60 to 85."""
    for twelfth in range(12 * MINUTES):
        minute = twelfth / 12
        for model in ("a", "b"):
            slow = model == "b" and (10 <= minute < 20 or 40 <= minute < 52)
            if model == "a" or not 60 <= minute < 85:
                yield LlmEvent(
                    type="llm.call",
                    time=at(minute),
                    source="test",
                    provider="acme",
                    model=model,
                    duration=timedelta(seconds=40 if slow else 0.5),
                )


def block(language: str) -> str:
    (found,) = re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.M | re.S)
    return str(found)


def stored(settings: Settings, store: str) -> int:
    """How many windows a backtest would read."""
    wanted = Wanted(frozenset({KIND}), at(-60), at(MINUTES + 60))
    return sum(each.rows.num_rows for each in slices(settings, store, wanted))


def mine(settings: Settings) -> list[Alert]:
    return [alert for alert in published(settings) if alert.rule in FIRINGS]


@pytest.fixture(scope="module")
def played(module_settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """All windows are stored, and all alerts are over."""
    port, settings = free_port(), module_settings
    emit(settings, calls())
    with (
        running(
            settings, "process", "--metrics-port", port, log=tmp_path_factory.mktemp("w") / "log"
        ),
        sinking("postgres", settings, topics=["metrics.windows"]),
        sinking("parquet", settings, topics=["metrics.windows"]),
    ):
        wait_for("worker", lambda: healthy(port))

        def over() -> bool:
            states = [alert.state for alert in mine(settings)]
            return states.count(AlertState.RESOLVED) == sum(FIRINGS.values())

        wait_for("alerts", over)
        windows = newest_windows(settings).values()
        final = sum((each.metric, each.window) == KIND and each.final for each in windows)
        for store in ("postgres", "parquet"):
            wait_for(store, partial(lambda store: stored(settings, store) >= final, store))
    return settings


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the commands run: the files of the page, and incidents of our own."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "slow.yaml").write_text(block("yaml"))
    rows = [(10, 20, "b"), (45, 46, "a"), (58, 59, "")]
    lines = [
        f"{at(first).isoformat()},{at(last).isoformat()},{model},x" for first, last, model in rows
    ]
    (tmp_path / "own.csv").write_text("\n".join(["start,end,model,title", *lines]))
    (tmp_path / "incidents.csv").write_text(block("csv"))
    return tmp_path


def backtest(settings: Settings, *words: str) -> Any:
    done = nilo(settings, "replay", "backtest", *words)
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


def test_shipped_rules_give_the_firings_that_they_gave_live_from_every_store(
    played: Settings, folder: Path
) -> None:
    rules = [load_catalogue().rules[name] for name in FIRINGS]
    values = [rule.model_dump(by_alias=True, exclude_unset=True) for rule in rules]
    (folder / "shipped.yaml").write_text(yaml.safe_dump({"alerts": values}))
    live = {
        (alert.rule, alert.fingerprint, alert.starts_at.isoformat(), alert.time.isoformat())
        for alert in mine(played)
        if alert.state is AlertState.FIRING
    }
    assert len(live) == sum(FIRINGS.values())

    for store in ("postgres", "parquet", "kafka"):
        told = backtest(played, "shipped.yaml", "--days", "1", "--store", store)
        found = [
            (each["rule"], one["fingerprint"], one["starts_at"], one["fired_at"])
            for each in told["rules"]
            for one in each["new"]["episodes"]
        ]
        assert len(found) == len(live), store
        assert set(found) == live, store
        assert all(each["new"] == each["catalogue"] for each in told["rules"])
        assert [each["new"]["series"] for each in told["rules"]] == [2, 2]


def test_a_changed_rule_stands_beside_the_old_one_and_is_held_against_incidents(
    played: Settings, folder: Path
) -> None:
    words = ("slow.yaml", "--days", "1", "--incidents", "own.csv")
    told = backtest(played, *words)
    (rule,) = told["rules"]
    assert told["ignored_columns"] == ["title"]
    assert [rule[name]["firings"] for name in ("catalogue", "new")] == [2, 2]
    assert [rule[name]["seconds_to_detect"]["max"] for name in ("catalogue", "new")] == [180, 120]
    assert (rule["new"]["missed"], rule["new"]["precision"]) == ([3, 4], 0.5)
    # With so much slack the second alert meets the third incident.
    (slack,) = backtest(played, *words, "--slack", "10m")["rules"]
    assert (slack["new"]["missed"], slack["new"]["precision"]) == ([3], 1.0)


def test_the_commands_of_the_page_run_and_the_same_windows_give_the_same_bytes(
    played: Settings, folder: Path
) -> None:
    lines, charts = block("sh").splitlines(), []
    for line in [*lines, lines[2].replace("--days 7", "--days 1")]:
        done = nilo(played, *shlex.split(line)[1:])
        assert (done.returncode, done.stderr) == (0, ""), line
        if "slow.svg" in line:
            assert [row["firings"] for row in json.loads(done.stdout)["rows"]] == [2] * 6 + [0]
            charts.append((folder / "slow.svg").read_bytes())
    assert charts[0] == charts[1]
    assert (folder / "both.png").stat().st_size > 10_000


def test_a_range_without_windows_is_an_error_that_names_the_way_out(
    played: Settings, folder: Path
) -> None:
    done = nilo(played, "replay", "backtest", "slow.yaml", "--to", "2020-01-01", "--days", "1")
    assert done.returncode == 1
    assert "postgres has no final windows of llm.duration (1m)" in done.stderr
    assert "`nilo windows llm.duration`" in done.stderr
