"""Replays where no processors run: retention overtakes them, and nothing is live."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from nilo_cli.replays.ranges import Asked
from nilo_cli.replays.running import make, run
from nilo_schemas.catalogue_files import load_catalogue
from nilo_schemas.clients import kafka_config
from nilo_schemas.errors import NiloError
from nilo_schemas.settings import Settings
from nilo_stream_processors.replay import kafka_store, runner
from nilo_stream_processors.replay.reading import Read
from tests.integration.programs import nilo
from tests.integration.sinking import LLM, calls

pytestmark = [
    pytest.mark.integration,
    pytest.mark.topics(LLM, "metrics.windows", "alerts"),
]


def test_what_is_deleted_while_it_is_read_is_named(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One batch of records is fetched at a time, and slowly."""
    for _ in range(20):
        calls(settings, 10, partition=1)
    monkeypatch.setattr(kafka_store, "FETCH_BYTES", 1)
    slow = settings.model_copy(update={"replay_rate": 50.0})
    folder = make(slow, Asked("kafka", [LLM]), load_catalogue(None), out=tmp_path / "r")
    delete_at_first(monkeypatch, slow, 190)

    with pytest.raises(NiloError, match=rf"{LLM} partition 1: Kafka has deleted the .* to 189;"):
        run(slow, folder, speed=None, workers=1)


def delete_at_first(monkeypatch: pytest.MonkeyPatch, settings: Settings, offset: int) -> None:
    """Retention takes all before an offset once a replay has begun."""
    take = runner.Runner._take
    place = TopicPartition(settings.topic_prefix + LLM, 1, offset)

    def deleting(self: runner.Runner, read: Read) -> None:
        monkeypatch.setattr(runner.Runner, "_take", take)
        admin = AdminClient(kafka_config(settings))
        for done in admin.delete_records([place]).values():
            done.result(30)
        take(self, read)

    monkeypatch.setattr(runner.Runner, "_take", deleting)


def test_offsets_that_are_not_there_are_refused(settings: Settings) -> None:
    calls(settings, 10, partition=1)
    for asked in ("1:0-10", "1:5-4", "2:0-0"):
        told = nilo(settings, "replay", "run", "--offsets", f"{LLM}:{asked}")

        assert told.returncode == 2
        assert f"the last offset there is {9 if asked.startswith('1') else -1}" in told.stderr


def test_what_no_processor_has_come_to_is_not_compared_and_a_canary_says_so(
    settings: Settings, tmp_path: Path
) -> None:
    for _ in range(2):
        calls(settings, 10)
    out = tmp_path / "r"
    assert nilo(settings, "replay", "run", "--out", str(out), "--topic", LLM).returncode == 0

    differs = nilo(settings, "replay", "diff", str(out), "--json")
    canary = nilo(settings, "replay", "canary", "--topic", LLM, "--json")

    summary = json.loads(differs.stdout.splitlines()[-1])["summary"]
    assert (summary["equal"], summary["windows"]["equal"]) == (True, 0)
    assert summary["windows"]["not_compared"] > 0
    verdict = json.loads(canary.stdout.splitlines()[-1])["verdict"]
    assert (canary.returncode, verdict["equal"], verdict["blind"]) == (1, False, [LLM])
