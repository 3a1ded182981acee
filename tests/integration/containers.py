"""Kafka, the registry and PostgreSQL in containers, for tests with NILO_TEST_STACK=containers.

The images are those of docker-compose.yml; a machine without a hub makes stand-ins by
deploy/docker/offline/make-images.sh and names them by NILO_TEST_…_IMAGE.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from docker.errors import DockerException  # type: ignore[import-not-found]  # mypy_path has deploy/, so mypy takes deploy/docker for it
from testcontainers.community.postgres import PostgresContainer
from testcontainers.core.config import ConnectionMode, testcontainers_config
from testcontainers.core.container import DockerContainer
from testcontainers.core.docker_client import DockerClient
from testcontainers.core.exceptions import ContainerStartException
from testcontainers.core.wait_strategies import HttpWaitStrategy

from nilo_deploy.ports import free_port
from nilo_schemas.errors import NiloError

LOOPBACK = "127.0.0.1"
START_TIMEOUT_S = 60
IMAGES = {
    "kafka": "apache/kafka:4.1.1",
    "registry": "apicurio/apicurio-registry-mem:2.6.13.Final",
    "postgres": "postgres:16",
}


class ContainersUnavailableError(NiloError):
    """The containers were not asked for, no engine answers, or one did not start."""


@contextmanager
def container_stack(home: Path) -> Iterator[dict[str, str]]:
    """Run Kafka, Apicurio Registry and PostgreSQL, and remove them at the end.

    Args:
        home: receives what the servers printed, as `logs/<server>.log`.

    Yields:
        kafka_bootstrap_servers, schema_registry_url and database_url, all on 127.0.0.1.

    Raises:
        ContainersUnavailableError: NILO_TEST_STACK is not `containers`, no Docker engine
            answers, or a server is not ready within a minute.
    """
    _require_engine()
    with ExitStack() as stack:
        try:
            state = _start(stack, home / "logs")
        except (DockerException, ContainerStartException, KafkaException, OSError) as error:
            reason = str(error).partition("\n")[0]
            raise ContainersUnavailableError(
                f"the containers did not start: {reason}; logs are in {home / 'logs'}"
            ) from error
        yield state


def image(server: str) -> str:
    """The image of a server: NILO_TEST_<SERVER>_IMAGE, or else the official one.

    Args:
        server: `kafka`, `registry` or `postgres`.
    """
    return os.environ.get(f"NILO_TEST_{server.upper()}_IMAGE") or IMAGES[server]


def _require_engine() -> None:
    wanted = os.environ.get("NILO_TEST_STACK", "")
    if wanted != "containers":
        raise ContainersUnavailableError(
            f"NILO_TEST_STACK is {wanted!r}: set it to 'containers' to start the servers in Docker"
        )
    try:
        engine = DockerClient().client
        engine.ping()
    except DockerException as error:
        where = os.environ.get("DOCKER_HOST", "the default socket")
        raise ContainersUnavailableError(
            f"no Docker engine answers at {where} ({error}): start one, or set DOCKER_HOST"
        ) from error
    engine.close()


def _start(stack: ExitStack, logs: Path) -> dict[str, str]:
    # a sandbox looks like a container to testcontainers, which would then talk to the bridge
    testcontainers_config.tc_host_override = LOOPBACK
    testcontainers_config.connection_mode_override = ConnectionMode.docker_host
    port = free_port()
    _run(stack, "kafka", kafka_container(port), logs)
    registry = _run(stack, "registry", registry_container(), logs)
    # PostgreSQL comes last: testcontainers waits for it within its start, the others load meanwhile
    postgres = postgres_container()
    _run(stack, "postgres", postgres, logs)
    _await_kafka(port)
    _await_registry(registry)
    return {
        "kafka_bootstrap_servers": f"{LOOPBACK}:{port}",
        "schema_registry_url": _registry_url(registry),
        "database_url": postgres.get_connection_url(host=LOOPBACK, driver=None),
    }


def kafka_container(port: int) -> DockerContainer:
    """One broker in KRaft mode that clients reach at 127.0.0.1.

    Args:
        port: a free port of this machine; the broker has to know it before it starts.
    """
    container = DockerContainer(image("kafka")).with_envs(
        KAFKA_NODE_ID="1",
        KAFKA_PROCESS_ROLES="broker,controller",
        KAFKA_LISTENERS="CLIENT://:9092,CONTROLLER://:9093",
        KAFKA_ADVERTISED_LISTENERS=f"CLIENT://{LOOPBACK}:{port}",
        KAFKA_LISTENER_SECURITY_PROTOCOL_MAP="CLIENT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        KAFKA_INTER_BROKER_LISTENER_NAME="CLIENT",
        KAFKA_CONTROLLER_LISTENER_NAMES="CONTROLLER",
        KAFKA_CONTROLLER_QUORUM_VOTERS="1@localhost:9093",
        KAFKA_AUTO_CREATE_TOPICS_ENABLE="false",
        KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR="1",
        KAFKA_OFFSETS_TOPIC_NUM_PARTITIONS="8",
        KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR="1",
        KAFKA_TRANSACTION_STATE_LOG_MIN_ISR="1",
        KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS="0",
        KAFKA_LOG_DIRS="/var/lib/kafka/data",
        KAFKA_HEAP_OPTS="-Xmx512m",
    )
    return _publish(container, 9092, port)


def registry_container() -> DockerContainer:
    """The registry, which keeps its data in memory for the length of the tests."""
    return _publish(DockerContainer(image("registry")), 8080)


def postgres_container() -> PostgresContainer:
    """PostgreSQL with a database of our own and a password that nobody else knows."""
    container = PostgresContainer(
        image("postgres"), username="nilo", password=secrets.token_hex(16), dbname="nilo"
    )
    _publish(container, 5432)
    return container


def _publish(
    container: DockerContainer, port: int, host_port: int | None = None
) -> DockerContainer:
    # with_exposed_ports would bind to every interface; docker-py takes a pair with the address,
    # but testcontainers types the values of its dict as plain ports
    container.ports[str(port)] = (LOOPBACK, host_port)  # type: ignore[assignment]  # pyright: ignore[reportArgumentType]
    return container


def _run(stack: ExitStack, name: str, container: DockerContainer, logs: Path) -> DockerContainer:
    stack.callback(container.stop)
    stack.callback(_save_log, container, logs / f"{name}.log")
    return container.start()


def _save_log(container: DockerContainer, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        path.write_bytes(b"".join(container.get_logs()))
    except (ContainerStartException, DockerException) as error:
        path.write_text(f"no log: {error}\n")


def _await_kafka(port: int) -> None:
    client = AdminClient({"bootstrap.servers": f"{LOOPBACK}:{port}", "log_level": 0})
    client.list_topics(timeout=START_TIMEOUT_S)


def _await_registry(container: DockerContainer) -> None:
    answers = HttpWaitStrategy(8080, "/apis/ccompat/v7/subjects")
    answers.with_startup_timeout(START_TIMEOUT_S).wait_until_ready(container)


def _registry_url(container: DockerContainer) -> str:
    return f"http://{LOOPBACK}:{container.get_exposed_port(8080)}/apis/ccompat/v7"
