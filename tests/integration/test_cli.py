"""The program as its users run it: subprocesses against the real servers."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from nilo_deploy.ports import free_port
from nilo_schemas.clients import kafka_config
from nilo_schemas.results import STATE_TOPICS
from nilo_schemas.settings import Settings
from tests.integration.conftest import EXTERNAL
from tests.integration.forked import nilo_forked
from tests.integration.programs import healthy, wait_for

pytestmark = pytest.mark.integration
LIMIT = 60.0


def environment(settings: Settings) -> dict[str, str]:
    """What a shell would have exported to reach these servers and topics."""
    return os.environ | {
        "NILO_HOME": str(settings.home),
        "NILO_KAFKA_BOOTSTRAP_SERVERS": settings.brokers(),
        "NILO_SCHEMA_REGISTRY_URL": settings.registry_url(),
        "NILO_DATABASE_URL": settings.database(),
        "NILO_DATABASE_SCHEMA": settings.database_schema,
        "NILO_TOPIC_PREFIX": settings.topic_prefix,
        "NILO_LAKE": settings.lake_location,
    }


class Nilo:
    """Runs `python -m nilo_cli` with the settings of a test."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.environment = environment

    def __call__(
        self, *arguments: str, code: int = 0, stdin: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        done = nilo_forked(arguments, self.environment, stdin=stdin or "", timeout=LIMIT)
        assert done.returncode == code, done.stderr + done.stdout
        return done

    def rows(self, *arguments: str, stdin: str | None = None) -> list[dict[str, Any]]:
        """The JSON lines of a command that succeeds."""
        return [json.loads(line) for line in self(*arguments, stdin=stdin).stdout.splitlines()]

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """The command running, with its output to read."""
        return subprocess.Popen(
            self.command(arguments),
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    @staticmethod
    def command(arguments: Sequence[str]) -> list[str]:
        return [sys.executable, "-m", "nilo_cli", *arguments]


@pytest.fixture
def nilo(settings: Settings) -> Nilo:
    return Nilo(environment(settings))


@pytest.fixture
def bare(stack: Settings) -> Nilo:
    """For what needs no topics of its own."""
    return Nilo(environment(stack))


def test_an_emitted_event_is_found_by_tail(nilo: Nilo, settings: Settings) -> None:
    (place,) = nilo.rows("emit", "llm.call", "model=atlas", "duration=0.8", "attributes.a=b")
    assert place["topic"] == f"{settings.topic_prefix}events.llm"

    (seen,) = nilo.rows("tail", "events.llm", "-o", "beginning", "-e")
    assert (seen["partition"], seen["offset"]) == (place["partition"], place["offset"])
    assert seen["payload"]["id"] == place["id"]
    assert seen["payload"]["duration"] == 0.8
    assert seen["payload"]["attributes"] == {"a": "b"}


def test_lines_of_standard_input_are_emitted_in_order(nilo: Nilo) -> None:
    lines = "".join(f'{{"model": "m{number}", "subject": "s"}}\n' for number in range(50))
    places = nilo.rows("emit", "llm.call", stdin=lines)
    assert [place["offset"] for place in places] == list(range(50))

    last = nilo(
        "tail", "events.llm", "-o", "-3", "-e", "-p", str(places[0]["partition"]), "-f", "%o "
    )
    assert last.stdout == "47 48 49 "


def test_a_wrong_line_stops_and_what_was_before_it_is_in_kafka(nilo: Nilo) -> None:
    told = nilo("emit", "llm.call", stdin='{"model": "m"}\n{"modell": "m"}\n', code=2)
    assert "line 2: LlmEvent has no field 'modell'" in told.stderr
    assert len(told.stdout.splitlines()) == 1
    assert len(nilo.rows("tail", "events.llm", "-o", "beginning", "-e")) == 1


def test_tail_begins_and_ends_at_times(nilo: Nilo, settings: Settings) -> None:
    producer = Producer(kafka_config(settings))
    topic = f"{settings.topic_prefix}events.llm"
    now = time.time_ns() // 1_000_000
    for second in range(10):
        producer.produce(topic, b"x", partition=second % 2, timestamp=now + 1000 * second)
    assert producer.flush(LIMIT) == 0

    def shown(*options: str) -> list[int]:
        told = nilo("tail", "events.llm", "-f", r"%T\n", *options).stdout
        return sorted((int(line) - now) // 1000 for line in told.splitlines())

    assert shown("-o", f"s@{now + 3000}", "-o", f"e@{now + 6000}") == [3, 4, 5]
    assert shown("-o", f"e@{now + 2000}") == [0, 1]
    assert shown("-o", f"s@{now + 8000}", "-e") == [8, 9]
    assert shown("-o", "end", "-e") == []
    assert shown("-o", "3", "-e", "-p", "1") == [7, 9]


def test_a_message_that_does_not_decode_is_shown_and_tail_goes_on(
    nilo: Nilo, settings: Settings
) -> None:
    topic = f"{settings.topic_prefix}events.llm"
    producer = Producer(kafka_config(settings))
    producer.produce(topic, b"no event", partition=0)
    producer.produce(topic, None, partition=0)
    assert producer.flush(LIMIT) == 0
    nilo("emit", "llm.call", "model=atlas")

    seen = nilo.rows("tail", "events.llm", "-o", "beginning", "-c", "3")
    reasons = [each.get("error", {}).get("reason") for each in seen]
    assert sorted(str(reason) for reason in reasons) == ["None", "empty", "framing"]


def test_tail_waits_for_what_comes_and_ctrl_c_ends_it_quietly(nilo: Nilo) -> None:
    nilo("emit", "llm.call", "model=first")
    process = nilo.start("tail", "events.llm", "-o", "beginning", "-f", r"%o\n")
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "0\n"
        nilo("emit", "llm.call", "model=second")
        assert process.stdout.readline() == "1\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(LIMIT) == 130
        assert process.stderr is not None
        assert process.stderr.read() == ""
    finally:
        process.kill()
        process.communicate()


def test_topics_are_listed_with_what_they_hold(nilo: Nilo, settings: Settings) -> None:
    nilo("emit", "llm.call", stdin='{"model": "m"}\n' * 7)
    listed = {
        row["name"].removeprefix(settings.topic_prefix): row for row in nilo.rows("topics", "list")
    }
    assert listed["events.llm"]["messages"] == 7
    assert listed["events.llm"]["partitions"] == settings.partitions
    assert listed["events.llm"]["retention"] == "7 d"
    assert listed["dlq.events.llm"]["messages"] == 0
    assert listed["metrics.partials"]["cleanup"] == "delete"
    assert listed["metrics.partials"]["retention"] == "1 d"
    assert {listed[topic]["retention"] for topic in STATE_TOPICS} == {"forever"}


def test_topics_and_contracts_of_a_new_prefix(nilo: Nilo, settings: Settings) -> None:
    nilo.environment["NILO_TOPIC_PREFIX"] = f"{settings.topic_prefix}new."
    told = nilo("emit", "llm.call", "model=m", code=1)
    assert "run `nilo topics create`" in told.stderr

    assert all(row["created"] for row in nilo.rows("topics", "create"))
    assert not any(row["created"] for row in nilo.rows("topics", "create"))
    told = nilo("emit", "llm.call", "model=m", code=1)
    assert "run `nilo schemas register`" in told.stderr
    states = {
        row["name"]: row["state"]
        for row in map(json.loads, nilo("status", code=1).stdout.splitlines())
    }
    assert (states["topics"], states["contracts"]) == ("ok", "missing")

    assert nilo.rows("schemas", "register") == nilo.rows("schemas", "register")
    nilo("emit", "llm.call", "model=m")
    assert {row["state"] for row in nilo.rows("status")} == {"up", "ok"}


def test_contracts_are_checked_and_shown(bare: Nilo) -> None:
    assert "contracts are as their models" in bare("schemas", "check").stdout
    assert json.loads(bare("schemas", "show", "events.llm").stdout)["name"] == "LlmEvent"
    assert "events.llm" in {row["topic"] for row in bare.rows("schemas", "show")}


def test_config_show_masks_the_password_and_names_the_source(bare: Nilo) -> None:
    bare.environment["NILO_DATABASE_URL"] = "postgresql://me:s3cret@127.0.0.1/x"
    told = bare("config", "show").stdout
    assert "s3cret" not in told
    rows = {row["name"]: row for row in map(json.loads, told.splitlines())}
    assert rows["database_url"]["source"] == "environment NILO_DATABASE_URL"


@pytest.mark.parametrize(
    "arguments",
    [
        ("topics", "list"),
        ("topics", "create"),
        ("emit", "llm.call", "model=m"),
        ("tail", "events.llm"),
        ("process", "--metrics-port", str(free_port())),
        ("sink", "postgres"),
    ],
)
def test_a_dead_broker_is_one_line_and_exit_1(bare: Nilo, arguments: tuple[str, ...]) -> None:
    port = free_port()
    bare.environment["NILO_KAFKA_BOOTSTRAP_SERVERS"] = f"127.0.0.1:{port}"
    told = bare(*arguments, code=1)
    assert told.stderr.startswith(f"nilo: no broker answers at 127.0.0.1:{port}")
    assert told.stderr.count("\n") == 1


def test_a_dead_server_is_down_in_status(bare: Nilo) -> None:
    port = free_port()
    bare.environment["NILO_KAFKA_BOOTSTRAP_SERVERS"] = f"127.0.0.1:{port}"
    bare.environment["NILO_DATABASE_URL"] = f"postgresql://me:s3cret@127.0.0.1:{port}/x"
    told = bare("status", code=1).stdout
    states = {row["name"]: row["state"] for row in map(json.loads, told.splitlines())}
    assert (states["kafka"], states["registry"], states["postgres"]) == ("down", "up", "down")
    assert "s3cret" not in told


def test_a_taken_port_is_one_line_and_exit_1(bare: Nilo) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        for program in (("process",), ("sink", "prometheus")):
            told = bare(*program, "--metrics-port", port, code=1)
            assert f"127.0.0.1:{port} (Address already in use)" in told.stderr
            assert told.stderr.count("\n") == 1


def test_the_version_is_told(bare: Nilo) -> None:
    assert bare("--version").stdout.startswith("nilometer ")


@contextmanager
def running(nilo: Nilo, *programs: tuple[str, ...]) -> Iterator[None]:
    """Programs that run until the end of the block; then SIGTERM, and each must exit with 0."""
    ports = [free_port() for _ in programs]
    started = [
        subprocess.Popen(
            nilo.command([*words, "--metrics-port", str(port)]),
            env=nilo.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for words, port in zip(programs, ports, strict=True)
    ]
    try:
        for port in ports:
            wait_for(f"/health at {port}", partial(healthy, port))
        yield
        for process in started:
            process.terminate()
        assert [process.wait(LIMIT) for process in started] == [0] * len(started)
    finally:
        for process in started:
            process.kill()
            process.wait()


def test_a_file_becomes_windows_in_each_store(nilo: Nilo, tmp_path: Path) -> None:
    """60 calls, one a second, from 12:00:00: six full windows of ten seconds."""
    file = tmp_path / "calls.csv"
    rows = [f"2025-06-01T12:00:{second:02}Z,{second},m" for second in range(60)]
    file.write_text("\n".join(["ts,ms,name", *rows, "never,1,m"]) + "\n")
    play = ("play", str(file), "--as", "llm.call", "--map", "time=ts,duration=ms:ms,model=name")
    told = nilo(*play, code=1)
    assert "60 rows before it were sent" in told.stderr
    assert told.stderr.count("\n") == 1

    query = ("windows", "llm.duration", "--window", "10s", "--where", "model=m")
    with running(nilo, ("process",), ("sink", "postgres"), ("sink", "parquet")):
        for store in ("postgres", "parquet"):
            read = (*query, "--from", store)
            wait_for(f"windows in {store}", lambda: len(nilo.rows(*read)) == 6)  # noqa: B023  used at once
            found = nilo.rows(*read)
            assert [each["count"] for each in found] == [10] * 6
            assert [each["max"] for each in found] == [0.009, 0.019, 0.029, 0.039, 0.049, 0.059]
        assert nilo.rows(*query, "--as-of", "1h") == []
        lagging = {row["name"] for row in nilo.rows("status")}
        assert any(name.endswith("nilo-sink-postgres") for name in lagging)


def test_a_file_with_a_bad_row_may_be_played_without_it(nilo: Nilo, tmp_path: Path) -> None:
    file = tmp_path / "calls.jsonl"
    file.write_text('{"n": "a", "c": 1}\n{"n": "b", "c": -1}\n{"n": "c", "c": 2}\n')
    mapping = ("--map", "model=n,cost=c", "--map", "source='script'")
    (played,) = nilo.rows("play", str(file), "--as", "llm.call", *mapping, "--on-error", "skip")
    assert (played["rows"], played["delivered"], played["skipped"]) == (3, 2, 1)
    seen = nilo("tail", "events.llm", "-o", "beginning", "-e", "-f", "%k ").stdout
    assert seen == "script script "


def test_up_status_down(tmp_path: Path) -> None:
    inherited = {name: value for name, value in os.environ.items() if name not in EXTERNAL}
    nilo = Nilo(inherited | {"NILO_HOME": str(tmp_path)})
    try:
        assert {row["state"] for row in nilo.rows("up")} == {"up"}
        assert {row["state"] for row in nilo.rows("status")} == {"up", "ok"}
        (place,) = nilo.rows("emit", "llm.call", "model=m")
        assert place["topic"] == "events.llm"
        assert "would stop: kafka-1" in nilo("down", "--dry-run").stdout
    finally:
        done = nilo("down", "--delete", "--yes").stdout
    assert "stopped: kafka-1, postgres, registry" in done
    assert not (tmp_path / "kafka").exists()
    assert "nothing, no server ran" in nilo("down").stdout
