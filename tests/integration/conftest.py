"""One real stack per session; every test has topics, a database schema and a lake of its own.

Which stack: the servers named by KAFKA_BOOTSTRAP_SERVERS, SCHEMA_REGISTRY_URL and DATABASE_URL
when they are set; containers when NILO_TEST_STACK=containers; else the embedded one.
"""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import KafkaException

from nilo_schemas.settings import Settings, load_settings
from tests.integration.topics import delete_topics, make_topics

EXTERNAL = ("KAFKA_BOOTSTRAP_SERVERS", "SCHEMA_REGISTRY_URL", "DATABASE_URL")


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Settings that reach a running broker, registry and database."""
    home = tmp_path_factory.mktemp("stack")
    if all(os.environ.get(name) for name in EXTERNAL):
        yield load_settings({"home": home})
    elif os.environ.get("NILO_TEST_STACK") == "containers":
        yield from _containers(home)
    else:
        yield from _embedded(home)


def _containers(home: Path) -> Iterator[Settings]:
    from tests.integration.containers import container_stack  # noqa: PLC0415  docker is optional

    with container_stack(home) as addresses:
        yield load_settings({"home": home, **addresses}, env={})


def _embedded(home: Path) -> Iterator[Settings]:
    from nilo_deploy import down, up  # noqa: PLC0415  not needed with an outside stack

    settings = load_settings({"home": home}, env={})
    up(settings)
    yield load_settings({"home": home}, env={})
    down(settings, delete=True)


@pytest.fixture
def own(stack: Settings, tmp_path: Path) -> Iterator[Settings]:
    """Settings of this test alone: own prefix, without topics yet, own schema, own lake."""
    with _own(stack, tmp_path) as mine:
        yield mine


@contextlib.contextmanager
def _own(stack: Settings, folder: Path) -> Iterator[Settings]:
    own = uuid.uuid4().hex[:8]
    mine = stack.model_copy(
        update={
            "topic_prefix": f"t{own}.",
            "database_schema": f"t{own}",
            "lake": str(folder / "lake"),
            "sqlite_file": folder / "nilo.db",
            # Events that a test did not emit would spoil its counts.
            "report_every": 0.0,
            # The lake writes as soon as PostgreSQL does: tests need not wait for more rows.
            "lake_seconds": 0.5,
            "lake_rows": 50_000,
            # Partitions are made by need all the same; the tests of the maintenance switch it on.
            "maintenance_every": 0.0,
        }
    )
    yield mine
    with contextlib.suppress(KafkaException):  # the broker may be gone, and with it all topics
        delete_topics(mine)


@pytest.fixture
def topics(own: Settings, request: pytest.FixtureRequest) -> None:
    """The topics and contracts of this test: those that `mark.topics` names, else all."""
    make_topics(own, *_named(request))


def _named(request: pytest.FixtureRequest) -> tuple[str, ...]:
    mark = request.node.get_closest_marker("topics")
    return mark.args if mark else ()


@pytest.fixture
def settings(own: Settings, topics: None) -> Settings:
    """Settings of this test alone: own prefix with topics and contracts, own schema, own lake."""
    return own


@pytest.fixture(scope="module")
def module_settings(
    stack: Settings, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Settings]:
    """As `settings`, for all tests of a module: of what is played once and takes long."""
    with _own(stack, tmp_path_factory.mktemp("module")) as mine:
        make_topics(mine, *_named(request))
        yield mine


@pytest.fixture
def own_stack(tmp_path: Path) -> Iterator[Settings]:
    """A stack whose broker the test may kill."""
    from nilo_deploy import down, up  # noqa: PLC0415  not needed with an outside stack

    home = tmp_path / "home"
    up(load_settings({"home": home}, env={}))
    try:
        settings = load_settings({"home": home}, env={})
        make_topics(settings)
        yield settings
    finally:
        down(load_settings({"home": home}, env={}), delete=True)
