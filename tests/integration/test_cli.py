"""The program as its users run it: subprocesses against the real servers."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

import pytest
from confluent_kafka import Producer

from nilo_schemas.clients import kafka_config
from nilo_schemas.settings import Settings

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


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


class Nilo:
    """Runs `python -m nilo_cli` with the settings of a test."""

    def __init__(self, settings: Settings) -> None:
        self.environment = environment(settings)

    def __call__(
        self, *arguments: str, code: int = 0, stdin: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            self.command(arguments),
            env=self.environment,
            input=stdin or "",
            capture_output=True,
            text=True,
            timeout=LIMIT,
            check=False,
        )
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
    return Nilo(settings)


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
    assert "compact" in listed["metrics.partials"]["cleanup"]


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


def test_contracts_are_checked_and_shown(nilo: Nilo) -> None:
    assert "contracts are as their models" in nilo("schemas", "check").stdout
    assert json.loads(nilo("schemas", "show", "events.llm").stdout)["name"] == "LlmEvent"
    assert "events.llm" in {row["topic"] for row in nilo.rows("schemas", "show")}


def test_config_show_masks_the_password_and_names_the_source(nilo: Nilo) -> None:
    nilo.environment["NILO_DATABASE_URL"] = "postgresql://me:s3cret@127.0.0.1/x"
    told = nilo("config", "show").stdout
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
def test_a_dead_broker_is_one_line_and_exit_1(nilo: Nilo, arguments: tuple[str, ...]) -> None:
    port = free_port()
    nilo.environment["NILO_KAFKA_BOOTSTRAP_SERVERS"] = f"127.0.0.1:{port}"
    told = nilo(*arguments, code=1)
    assert told.stderr.startswith(f"nilo: no broker answers at 127.0.0.1:{port}")
    assert told.stderr.count("\n") == 1


def test_a_dead_server_is_down_in_status(nilo: Nilo) -> None:
    port = free_port()
    nilo.environment["NILO_KAFKA_BOOTSTRAP_SERVERS"] = f"127.0.0.1:{port}"
    nilo.environment["NILO_DATABASE_URL"] = f"postgresql://me:s3cret@127.0.0.1:{port}/x"
    told = nilo("status", code=1).stdout
    states = {row["name"]: row["state"] for row in map(json.loads, told.splitlines())}
    assert (states["kafka"], states["registry"], states["postgres"]) == ("down", "up", "down")
    assert "s3cret" not in told


def test_a_taken_port_is_one_line_and_exit_1(nilo: Nilo) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        for program in (("process",), ("sink", "prometheus")):
            told = nilo(*program, "--metrics-port", port, code=1)
            assert f"127.0.0.1:{port} (Address already in use)" in told.stderr
            assert told.stderr.count("\n") == 1


def test_the_version_is_told(nilo: Nilo) -> None:
    assert nilo("--version").stdout.startswith("nilometer ")
