"""What was made live, made once more: out of Kafka, the lake and the archive, and by other means.

Real traces and a stream with late events, through a real worker and a real sink; then replays of
all of it. NILO_TEST_TRACES=all takes every row of every trace.
"""

from __future__ import annotations

import json
import os
import random
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from nilo_cli.cluster import connect, watermarks
from nilo_consumers.read import windows_parquet, windows_postgres
from nilo_producers import play
from nilo_schemas.catalogue_files import SHIPPED
from nilo_schemas.clients import kafka_config
from nilo_schemas.groups import group_positions
from nilo_schemas.results import MetricWindow
from nilo_schemas.settings import Settings
from tests.chaos.alerts import CATALOGUE
from tests.chaos.load import GRACE, Load, Sender, make_events
from tests.integration.programs import SHARED, free_port, nilo, running, wait_for
from tests.integration.sinking import sinking

pytestmark = pytest.mark.integration
DATA = SHARED / "data"
ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "replay.md"
ALL = os.environ.get("NILO_TEST_TRACES") == "all"
TRACES = [
    "llm/azure_llm_2023_conv", "agents/tau_bench_gpt4o_airline", "web/apache_access_201505",
    "trading/crypto_ohlcv_lean", "training/es_generations",
]  # fmt: skip
ROWS = None if ALL else 3000
# Two of its events are dead letters, as they come after the grace.
LOAD = Load(rate=250, seconds=24, seed="b")
AROUND = ("--from", "2025-12-31T23:00", "--to", "2026-01-01T01:00")
COUNTED = "nilo_llm_calls_events_total"
Line = dict[str, Any]


@pytest.fixture(scope="module")
def live(module_settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Everything worked off by a worker, and stored in the lake; the worker goes on."""
    folder = tmp_path_factory.mktemp("live")
    settings = module_settings.model_copy(
        update={
            "catalogue": CATALOGUE, "grace": GRACE, "cold_days": 36_500, "warm_days": 1,
            "hot_days": 1, "home": folder, "archive": folder / "archive",
        }
    )  # fmt: skip
    port = free_port()
    with (
        running(settings, "process", "--metrics-port", port, log=folder / "process.log"),
        running(settings, "sink", "parquet", log=folder / "sink.log"),
    ):
        for name in TRACES if DATA.exists() else ():
            play(settings, DATA / f"{name}.parquet", limit=ROWS)
        sender = Sender(settings)
        for sent in make_events(LOAD, settings):
            sender.send(sent.partition, sent.event)
        sender.finish()
        wait_for("everything", lambda: is_worked_off(settings))
        yield settings


def is_worked_off(settings: Settings) -> bool:
    """Whether all is read, and the last windows are closed: by silence."""
    held = group_positions(AdminClient(kafka_config(settings)), settings)
    own = held.get(f"{settings.topic_prefix}nilo-processors", {})
    events = [each for (topic, _), each in own.items() if ".events." in topic]
    windows = windows_parquet(settings, "llm.calls", window="1d")
    return len(held) == 2 and not any(each.lag for each in events) and len(windows) > 8


def lines(text: str) -> list[Line]:
    return [json.loads(line) for line in text.splitlines()]


def replayed(settings: Settings, folder: Path, *words: str) -> Line:
    """The line of a replay of everything, or of what is asked, in files alone."""
    done = nilo(settings, "replay", "run", "--out", str(folder), *words)
    assert done.returncode == 0, done.stderr
    return lines(done.stdout)[0]


def differences(settings: Settings, *words: str) -> tuple[Line, list[Line]]:
    """The counts, and every difference; the exit code says whether there are any."""
    done = nilo(settings, "replay", "diff", *words, "--json")
    *found, last = lines(done.stdout)
    assert done.returncode == (0 if last["summary"]["equal"] else 1), done.stderr
    return last["summary"], found


@pytest.fixture(scope="module")
def first(live: Settings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A replay of everything out of Kafka, in one process."""
    folder = tmp_path_factory.mktemp("first") / "kafka"
    told = replayed(live, folder, "--workers", "1")
    assert told["events"] == told["of"] > 0
    return folder


def test_kafka_lake_and_archive_give_what_was_made_live(
    live: Settings, first: Path, tmp_path: Path
) -> None:
    """Three times no difference: windows, and alerts although events are late."""
    replayed(live, tmp_path / "lake", "--source", "parquet", "--workers", "1")
    topics = ("llm", "chat", "ui", "trade", "evolution")
    asked = [word for name in topics for word in ("--topic", f"events.{name}")]
    moved = nilo(live, "tiers", "run", "--yes", *asked)
    assert moved.returncode == 0, moved.stderr
    replayed(live, tmp_path / "archive", "--source", "archive", "--workers", "1")

    for folder in (first, tmp_path / "lake", tmp_path / "archive"):
        summary, found = differences(live, str(folder))
        assert found == []
        assert summary["windows"]["equal"] > 500
        assert summary["alerts"]["equal"] > 50
        assert summary["windows"]["not_compared"] == 0


def test_a_replay_that_was_killed_gives_what_one_gives_that_was_not(
    live: Settings, tmp_path: Path
) -> None:
    """Two processes read, and with all of them it is killed twice, a while behind a checkpoint."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    words = ("--topic", "events.llm", *AROUND)
    replayed(live, whole, *words, "--workers", "1")
    slow = ("--workers", "2", "--speed", "10x")
    kills = [("run", "--out", str(killed), *words, *slow), ("resume", str(killed), *slow)]
    for number, command in enumerate(kills, 1):
        with running(live, "replay", *command, log=tmp_path / "log") as program:
            wait_for("a checkpoint", (killed / f"windows-{number:05}.parquet").exists)
            time.sleep(random.uniform(0, 1))
            program.kill()
    resumed = nilo(live, "replay", "resume", str(killed), "--workers", "1")

    assert lines(resumed.stdout)[0]["state"] == "done", resumed.stderr
    assert (killed / "windows-00002.parquet").exists()
    summary, found = differences(live, str(whole), str(killed))
    assert found == []
    assert summary["alerts"]["equal"] > 50


def test_a_changed_window_length_changes_its_windows_alone(
    live: Settings, first: Path, tmp_path: Path
) -> None:
    name, folder, page = "llm.time_to_first_token", tmp_path / "catalogue", tmp_path / "page.html"
    metrics = yaml.safe_load((SHIPPED / "llm.yaml").read_text())["metrics"]
    changed = {key: value for key, value in metrics[name].items() if key != "alerts"}
    shutil.copytree(CATALOGUE, folder)
    (folder / "own.yaml").write_text(
        yaml.safe_dump({"metrics": {name: changed | {"windows": ["20s", "1m"]}}})
    )

    options = ("--catalogue", str(folder), "--html", str(page))
    summary, found = differences(live, str(first), *options)

    cells = [line["cell"] for line in found]
    assert {(each["kind"], each["metric"], each["window"]) for each in cells} == {
        ("removed", name, "10s"),
        ("added", name, "20s"),
    }
    events = Counter[str]()
    for each in cells:
        events[each["kind"]] += each["old"] or each["new"]
        assert each["sources"]
    assert events["removed"] == events["added"]
    assert summary["alerts"]["differ"] == 0
    assert "<svg" in page.read_text()
    assert "<script" not in page.read_text()


def test_a_replay_has_topics_of_its_own_and_what_is_tried_on_it_leaves_live_alone(
    live: Settings,
) -> None:
    before = messages(live, f"{live.topic_prefix}metrics.windows")
    words = ("--offsets", "events.llm:1:0-200", "--where", "model=model-1", "--workers", "1")
    done = nilo(live, "replay", "run", *words)
    told = lines(done.stdout)[0]
    canary = nilo(live, "replay", "canary", "--events", "100", "--topic", "events.llm")

    assert messages(live, told["namespace"] + "metrics.windows") == told["windows"]
    assert told["id"] in [line["id"] for line in lines(nilo(live, "replay", "list").stdout)]
    verdict = lines(canary.stdout)[-1]["verdict"]
    assert (canary.returncode, verdict["equal"], verdict["windows_differ"]) == (0, True, 0)
    assert verdict["windows_equal"] > 0
    assert messages(live, f"{live.topic_prefix}metrics.windows") == before


def test_another_version_runs_in_an_environment_of_its_own(live: Settings, tmp_path: Path) -> None:
    """A checkout and a wheel; each is installed once."""
    told = replayed(live, tmp_path / "own", "--offsets", "events.llm:2:0-300")
    assert told["events"] == 301
    for number, code in enumerate((ROOT, wheel(tmp_path), ROOT), 1):
        summary, found = differences(live, str(tmp_path / "own"), "--code", str(code))

        assert found == []
        assert summary["windows"]["equal"] > 0
        made = list((live.home / "environments").glob("*/bin/nilo"))
        assert len(made) == min(number, 2)


def wheel(folder: Path) -> Path:
    """This version, built offline."""
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    return next(folder.glob("*.whl"))


def test_late_events_are_repaired_and_a_promoted_replay_takes_their_place(
    live: Settings, first: Path, tmp_path: Path
) -> None:
    """Each of it twice, the second time nothing is left to do; every store shows it."""
    asked = ("--topic", "events.llm", *AROUND)
    counted = nilo(live, "replay", "repair", *asked, "--dry-run")
    plan = lines(counted.stdout)[0]
    late = plan["changed"] + plan["added"]
    assert (late > 0, plan["published"]) == (True, 0)
    before, shortest = calls(live), calls(live, window="10s")
    with sinking("prometheus", live, topics=["metrics.windows"]) as metrics:
        wait_for("Prometheus", lambda: metrics.total(COUNTED) == shortest)
        assert published(live, "repair", *asked) == late
        assert published(live, "repair", *asked) == 0
        wait_for("the lake", lambda: calls(live) > before)
        wait_for(
            "Prometheus", lambda: shortest < metrics.total(COUNTED) == calls(live, window="10s")
        )
    repaired, wanted = calls(live), messages(live, f"{live.topic_prefix}metrics.windows")

    assert published(live, "promote", str(first)) == late
    assert published(live, "promote", str(first)) == 0
    wait_for("the lake", lambda: calls(live) == before)
    assert messages(live, f"{live.topic_prefix}metrics.windows") == wanted + late
    assert repaired > before
    assert differences(live, str(first))[1] == []
    with sinking("postgres", live, topics=["metrics.windows"]):
        wait_for("PostgreSQL", lambda: calls(live, windows_postgres) == before)


def test_the_commands_of_the_page_run_as_they_stand_there(
    live: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In its example nothing differs, as the catalogue is the one in force."""
    shutil.copytree(CATALOGUE, tmp_path / "rules")
    monkeypatch.chdir(tmp_path)
    [commands, *_] = re.findall(r"^```sh\n(.*?)^```", PAGE.read_text(), re.M | re.S)
    name = "ID"
    for line in commands.splitlines():
        words = shlex.split(line.replace("ID", name), comments=True)
        done = nilo(live, *words[1:])
        assert (words[0], done.returncode) == ("nilo", 0), done.stderr
        if words[2] == "run":
            name = lines(done.stdout)[0]["id"]
    assert name != "ID"
    assert "transitions of alerts are equal" in (tmp_path / "r.html").read_text()


def test_what_kafka_has_deleted_is_named_with_where_else_it_is(
    live: Settings, first: Path, tmp_path: Path
) -> None:
    place = TopicPartition(f"{live.topic_prefix}events.llm", 1, 50)
    admin = AdminClient(kafka_config(live))  # what it was asked is forgotten with it
    for done in admin.delete_records([place]).values():
        done.result(30)

    told = nilo(live, "replay", "run", "--like", str(first), "--out", str(tmp_path / "gone"))

    assert told.returncode == 1
    assert "events.llm partition 1: Kafka has deleted the offsets 0 to 49" in told.stderr
    assert "the archive has 0 to 49 of them (`--source archive`)" in told.stderr


def calls(
    settings: Settings,
    read: Callable[..., list[MetricWindow]] = windows_parquet,
    *,
    window: str = "1h",
) -> int:
    """The calls that the newest revisions of the windows of a length count."""
    return sum(each.count for each in read(settings, "llm.calls", window=window))


def published(settings: Settings, *words: str) -> int:
    done = nilo(settings, "replay", *words, "--yes")
    assert done.returncode == 0, done.stderr
    return int(lines(done.stdout)[0]["published"])


def messages(settings: Settings, topic: str) -> int:
    """How many a topic has had."""
    admin, existing = connect(settings)
    return sum(high for _, high in watermarks(admin, {topic: existing[topic]}).values())
