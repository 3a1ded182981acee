"""A lake at the URL of an object store: all that is done to one in a folder."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from nilo_consumers import count_parquet
from nilo_consumers.audit.in_lake import InLake
from nilo_consumers.erase import lake
from nilo_consumers.lake_care import compact, vacuum
from nilo_schemas.settings import Settings
from tests.erasing import OTHERS, RUN_ID, THEIRS, filled, without_gaps
from tests.integration.bucket import NAME, bucket
from tests.integration.programs import nilo, running, wait_for
from tests.integration.sinking import LLM, calls, sinking, wait_count
from tests.tiering import PARTITIONS, in_archive, in_lake, moved, tiered

pytestmark = [pytest.mark.integration, pytest.mark.topics("events.llm")]


@pytest.fixture(scope="module")
def server() -> Iterator[dict[str, str]]:
    with bucket() as variables:
        yield variables


@pytest.fixture(autouse=True)
def found(server: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in server.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def alone(tmp_path: Path) -> Settings:
    """Only the lake and the archive, no Kafka."""
    return tiered(tmp_path).model_copy(update={"lake": f"s3://{NAME}/{tmp_path.name}"})


@pytest.mark.usefixtures("topics")
@pytest.mark.topics
def test_a_killed_sink_goes_on_and_the_ledger_is_clean(settings: Settings, tmp_path: Path) -> None:
    update = {"lake": f"s3://{NAME}/{settings.topic_prefix}lake", "lake_rows": 2_000}
    there = settings.model_copy(update=update)
    calls(there, 20_000)
    with running(there, "sink", "parquet", log=tmp_path / "log") as process:
        wait_for("rows", lambda: count_parquet(there, LLM))
        process.send_signal(signal.SIGKILL)
        process.wait()
    calls(there, 5_000)
    with sinking("parquet", there, topics=[LLM]), sinking("parquet", there, topics=[LLM]):
        wait_count("parquet", there, 25_000)

    done = nilo(there, "audit", "reconcile", "--topic", LLM, "--store", "parquet", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["clean"] is True


def test_days_go_to_the_archive_and_a_subject_goes_for_good(alone: Settings) -> None:
    """After a compaction, and what is left is clean and whole."""
    filled(alone)
    (packed,) = compact(alone, [LLM])
    assert packed.files < packed.files_before
    assert list(vacuum(alone, [LLM], keep=timedelta(0), dry_run=False))
    assert [step.rows for step in moved(alone)] == [80]
    list(lake.erase(alone, THEIRS, RUN_ID))

    old = [(partition, offset) for partition in range(PARTITIONS) for offset in range(40)]
    assert sorted(in_archive(alone)) == old
    assert sorted(in_lake(alone)) == [place for place in OTHERS if place not in old]
    assert sum(line.rows or 0 for line in lake.count(alone, THEIRS)) == 0
    assert without_gaps(alone)
    store = InLake(alone, checksums=True)
    store.held(LLM, range(PARTITIONS))
    assert (store.lost, store.changed) == ([], [])
