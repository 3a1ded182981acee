"""The embedded stack on real servers, each test with a data folder of its own."""

import json
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from confluent_kafka.schema_registry.error import SchemaRegistryError

from nilo_deploy import PortError, ServerError, down, start_server, status, stop_server, up
from nilo_deploy.parts import psutil
from nilo_schemas.clients import kafka_config, registry_client
from nilo_schemas.settings import Settings, load_settings

pytestmark = pytest.mark.integration
_NAMES = ["kafka-1", "registry", "postgres"]


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """A data folder with a path that is hard on the servers: long, with blanks, `,` and `;`."""
    folder = tmp_path / ("long" * 30) / "a, b;c=d ü"
    yield folder
    down(Settings(home=folder))


def _settings(home: Path) -> Settings:
    return load_settings({"home": home}, env={})


def _record(name: str, *fields: str) -> Schema:
    members = [{"name": field, "type": "string"} for field in fields]
    return Schema(json.dumps({"type": "record", "name": name, "fields": members}), "AVRO")


def _pids(home: Path) -> dict[str, int | None]:
    return {server.name: server.pid for server in status(Settings(home=home)).servers}


def _write(settings: Settings) -> SchemaRegistryClient:
    admin = AdminClient(kafka_config(settings))
    topic = NewTopic("t", num_partitions=1, replication_factor=settings.replication_factor)
    admin.create_topics([topic])["t"].result()
    _produce(settings, b"one")
    registry = registry_client(settings)
    registry.register_schema("t-value", _record("R", "a"))
    registry.set_compatibility("t-value", "FULL_TRANSITIVE")
    with psycopg.connect(settings.database()) as connection:
        connection.execute("create table t as select 'one' as value")
    return registry


def _produce(settings: Settings, value: bytes) -> None:
    producer = Producer(kafka_config(settings, acks="all", enable_idempotence=True))
    producer.produce("t", value)
    assert producer.flush(30) == 0


def _replicas(admin: AdminClient) -> int:
    """Copies of t's partition, asked until every broker that may answer has heard of it."""
    while not (partitions := admin.list_topics("t").topics["t"].partitions):
        pass
    return len(partitions[0].replicas)


def _messages(settings: Settings, count: int) -> list[bytes | None]:
    more = {"group_id": str(uuid4()), "auto_offset_reset": "earliest"}
    consumer = Consumer(kafka_config(settings, **more))
    consumer.subscribe(["t"])
    messages = consumer.consume(count, timeout=30)
    consumer.close()
    return [message.value() for message in messages]


def _check_kept(settings: Settings) -> None:
    assert _messages(settings, 1) == [b"one"]
    registry = registry_client(settings)
    assert registry.get_latest_version("t-value").version == 1
    with pytest.raises(SchemaRegistryError):  # a field without default: FULL_TRANSITIVE is kept
        registry.register_schema("t-value", _record("R", "a", "b"))
    with psycopg.connect(settings.database()) as connection:
        assert connection.execute("select value from t").fetchall() == [("one",)]


def test_data_outlives_down_and_kill_and_missing_servers_are_started_again(home: Path) -> None:
    state = up(Settings(home=home))
    assert state.up
    assert [server.name for server in state.servers] == _NAMES == list(state.started)
    run_file = home / "run.json"
    assert stat.S_IMODE(run_file.stat().st_mode) == 0o600
    first = _settings(home)
    _write(first)

    pids = _pids(home)
    again = up(Settings(home=home))
    assert again.up
    assert again.started == ()
    assert _pids(home) == pids

    assert sorted(down(Settings(home=home))) == sorted(_NAMES)
    assert not run_file.exists()
    assert not any(psutil.pid_exists(pid) for pid in pids.values() if pid)
    assert {server.state for server in status(Settings(home=home)).servers} == {"down"}

    up(Settings(home=home))
    second = _settings(home)
    assert second.kafka_bootstrap_servers == first.kafka_bootstrap_servers
    assert second.database_url == first.database_url
    _check_kept(second)

    for pid in _pids(home).values():
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
    assert up(Settings(home=home)).up  # the run file is stale now
    _check_kept(_settings(home))

    registry = _pids(home)["registry"]
    assert registry is not None
    os.kill(registry, signal.SIGKILL)
    psutil.wait_procs([psutil.Process(registry)], timeout=10)
    states = {server.name: server.state for server in status(Settings(home=home)).servers}
    assert states == {"kafka-1": "up", "registry": "down", "postgres": "up"}
    assert up(Settings(home=home)).started == ("registry",)

    down(Settings(home=home), delete=True)
    assert [path.name for path in home.iterdir()] == [".lock"]


def test_what_runs_is_still_known_when_servers_elsewhere_were_named(home: Path) -> None:
    up(Settings(home=home), skip={"kafka", "registry"})
    up(Settings(home=home), skip={"kafka", "registry", "postgres"})

    stop_server(home, "postgres")
    assert [server.state for server in status(Settings(home=home)).servers] == ["down"]


def test_everything_listens_on_the_loopback_only_and_the_database_wants_its_password(
    home: Path,
) -> None:
    up(Settings(home=home), skip={"registry"})
    for pid in _pids(home).values():
        listening = [
            each.laddr.ip.removeprefix("::ffff:")  # Java listens on IPv6 sockets, mapped
            for each in psutil.Process(pid).net_connections()
            if each.status == psutil.CONN_LISTEN
        ]
        assert listening
        assert set(listening) == {"127.0.0.1"}
    url = _settings(home).database()
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(url.replace(url.split(":")[2].split("@")[0], "wrong"))
    assert _settings(home).schema_registry_url is None


def test_three_brokers_go_on_without_one(home: Path) -> None:
    state = up(Settings(home=home), brokers=3, skip={"registry", "postgres"})
    assert [server.name for server in state.servers] == ["kafka-1", "kafka-2", "kafka-3"]
    settings = _settings(home)
    admin = AdminClient(kafka_config(settings))
    admin.create_topics([NewTopic("t", 1, settings.replication_factor)])["t"].result()
    assert _replicas(admin) == 3
    stop_server(home, "kafka-2", signal.SIGKILL)
    assert [server.state for server in status(Settings(home=home)).servers] == ["up", "down", "up"]
    with pytest.raises(ServerError, match="does not run"):
        stop_server(home, "kafka-2")
    _produce(settings, b"two of three")
    start_server(home, "kafka-2")
    assert status(Settings(home=home)).up
    assert _messages(settings, 1) == [b"two of three"]


def test_a_taken_port_stops_nothing_and_starts_nothing(home: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(PortError, match=f"port {port} for postgres is taken"):
            up(Settings(home=home), ports={"postgres": port})
    assert status(Settings(home=home)).servers == ()


def test_a_server_that_cannot_start_is_an_error_with_its_log_and_the_others_are_stopped(
    home: Path,
) -> None:
    up(Settings(home=home), skip={"kafka"})
    down(Settings(home=home))
    (home / "postgres" / "data" / "PG_VERSION").write_text("9.6\n")
    with pytest.raises(ServerError, match=r"postgres ended .*postgres\.log") as caught:
        up(Settings(home=home), skip={"kafka"})
    assert "9.6" in str(caught.value)
    assert {server.state for server in status(Settings(home=home)).servers} == {"down"}
    assert not (home / "run.json").exists()


_UP = """\
import sys
from pathlib import Path
from nilo_deploy import up
from nilo_schemas.settings import Settings
up(Settings(home=Path(sys.argv[1])), skip={"kafka"}, progress=lambda line: print(line, flush=True))
"""


@pytest.mark.parametrize(("number", "left"), [(signal.SIGKILL, True), (signal.SIGINT, False)])
def test_an_up_that_is_killed_half_way_leaves_nothing_that_down_cannot_find(
    home: Path, number: signal.Signals, left: bool
) -> None:
    command = [sys.executable, "-c", _UP, str(home)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as program:
        assert program.stdout is not None
        assert b"postgres is up at" in program.stdout.readline()
        program.send_signal(number)
        program.stdout.close()  # as `nilo up | head -1` does: what it tells now goes nowhere
    running = [server for server in status(Settings(home=home)).servers if server.pid]
    assert bool(running) == left
    assert not (home / "run.json").exists()
    assert len(down(Settings(home=home))) == len(running)
