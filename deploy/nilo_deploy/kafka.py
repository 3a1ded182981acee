"""Apache Kafka in KRaft mode: each process is broker and controller."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from nilo_deploy.artifacts import kafka_classpath, version_of
from nilo_deploy.parts import JAVA
from nilo_deploy.process import Command, run
from nilo_deploy.server import Server
from nilo_deploy.state import Choices, Home

_silent = logging.getLogger("nilo_deploy.kafka.client")
_silent.addHandler(logging.NullHandler())
_silent.propagate = False  # a broker that is not up yet is no news to the user

_LOGGING = """\
status = warn
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d %p %m (%c{1})%n
rootLogger.level = info
rootLogger.appenderRef.out.ref = out
"""


def listeners(brokers: int) -> list[str]:
    """Names of the listeners that need a port."""
    nodes = [node_name(node) for node in range(1, brokers + 1)]
    return [*nodes, *(f"{node}-controller" for node in nodes)]


def node_name(node: int) -> str:
    """The server name of a node, counted from 1."""
    return f"kafka-{node}"


def bootstrap(choices: Choices) -> str:
    """host:port,… of all brokers."""
    ports = [choices.ports[node_name(node)] for node in range(1, choices.brokers + 1)]
    return ",".join(f"127.0.0.1:{port}" for port in ports)


def servers(home: Home, choices: Choices) -> list[Server]:
    """One server for each node."""
    return [_server(home, choices, node) for node in range(1, choices.brokers + 1)]


def config_text(choices: Choices, node: int) -> str:
    """The server.properties of one node that runs in the folder that holds its data."""
    copies = min(3, choices.brokers)
    in_sync = max(1, copies - 1)
    own, controller = _ports(choices, node)
    voters = ",".join(
        f"{each}@127.0.0.1:{_ports(choices, each)[1]}" for each in range(1, choices.brokers + 1)
    )
    values = {
        "process.roles": "broker,controller",
        "node.id": node,
        "controller.quorum.voters": voters,
        "controller.listener.names": "CONTROLLER",
        "listeners": f"PLAINTEXT://127.0.0.1:{own},CONTROLLER://127.0.0.1:{controller}",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{own}",
        "log.dirs": "data",  # relative: a comma in the home's name would make it two folders
        "auto.create.topics.enable": "false",
        # A quarter of the heap else, from the first compaction on; this is room for 700,000 keys.
        "log.cleaner.dedupe.buffer.size": 16 * 1024 * 1024,
        "group.initial.rebalance.delay.ms": 0,
        "default.replication.factor": copies,
        "min.insync.replicas": in_sync,
        "offsets.topic.replication.factor": copies,
        "offsets.topic.num.partitions": 8,
        "transaction.state.log.replication.factor": copies,
        "transaction.state.log.min.isr": in_sync,
        "transaction.state.log.num.partitions": 8,
        "share.coordinator.state.topic.replication.factor": copies,
        "share.coordinator.state.topic.min.isr": in_sync,
        "share.coordinator.state.topic.num.partitions": 8,
    }
    return "".join(f"{key}={value}\n" for key, value in values.items())


def _ports(choices: Choices, node: int) -> tuple[int, int]:
    name = node_name(node)
    return choices.ports[name], choices.ports[f"{name}-controller"]


def _server(home: Home, choices: Choices, node: int) -> Server:
    folder = home.folder("kafka") / f"node-{node}"
    port = choices.ports[node_name(node)]
    return Server(
        name=node_name(node),
        part="kafka",
        version=version_of("kafka_2.13"),
        address=f"127.0.0.1:{port}",
        port=port,
        log=home.log(node_name(node)),
        prepare=lambda: _prepare(folder, choices, node),
        command=lambda: _java(folder, "kafka.Kafka", str(folder / "server.properties")),
        healthy=_registered(port, choices.brokers),
    )


def _java(folder: Path, main: str, *arguments: str) -> Command:
    classpath = os.pathsep.join(map(str, kafka_classpath()))
    options = [
        "-Xmx512m",
        "-XX:+ExitOnOutOfMemoryError",  # else it goes on in part, and answers nobody
        "-XX:TieredStopAtLevel=1",
        "--enable-native-access=ALL-UNNAMED",
        "--sun-misc-unsafe-memory-access=allow",
        f"-Dlog4j2.configurationFile={(folder / 'log4j2.properties').as_uri()}",
    ]
    return Command([str(JAVA), *options, "-cp", classpath, main, *arguments], folder, {})


def _prepare(folder: Path, choices: Choices, node: int) -> None:
    """Write the configuration; format the data folder when it is new."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "log4j2.properties").write_text(_LOGGING)
    properties = folder / "server.properties"
    properties.write_text(config_text(choices, node))
    if (folder / "data" / "meta.properties").exists():
        return
    # the tool writes meta.properties last: without it the folder is a half-formatted leftover
    shutil.rmtree(folder / "data", ignore_errors=True)
    arguments: Sequence[str] = ("format", "-t", choices.cluster_id, "-c", str(properties))
    run(_java(folder, "kafka.tools.StorageTool", *arguments), f"formatting {folder}")


def _registered(port: int, brokers: int) -> Callable[[], bool]:
    """A check that the broker at `port` answers and knows `brokers` live brokers."""

    def healthy() -> bool:
        admin = AdminClient({"bootstrap.servers": f"127.0.0.1:{port}"}, logger=_silent)
        try:
            return len(admin.list_topics(timeout=2).brokers) >= brokers
        except KafkaException:
            return False

    return healthy
