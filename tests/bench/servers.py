"""The servers of a benchmark, and topics of its own on them."""

from __future__ import annotations

import contextlib
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from nilo_deploy import down, external, status, up
from nilo_deploy.state import Part
from nilo_schemas.clients import kafka_config
from nilo_schemas.errors import NiloError
from nilo_schemas.registry import Registry
from nilo_schemas.settings import Settings, load_settings
from nilo_schemas.topics import create_topics, existing_topics
from tests.bench.measure import keep_off_measured_core, wait_until

Say = Callable[[str], None]
EVENTS = "events."  # the topics that `reset` keeps


class BenchError(NiloError):
    """A benchmark could not be run to its end."""


@contextlib.contextmanager
def servers(say: Say, *, postgres: bool = False) -> Iterator[Settings]:
    """Settings that reach a broker and a registry, with a prefix under which nothing exists.

    Those named by flag, environment or nilo.toml, else an embedded stack of its own in a
    temporary folder, away from the core on which is measured. Topics are deleted at the end.

    Args:
        say: told what is being done.
        postgres: a database is needed too.
    """
    named = load_settings()
    needed = {"kafka", "registry"} | ({"postgres"} if postgres else set())
    with tempfile.TemporaryDirectory(prefix="nilo-bench-") as folder:
        own = {"home": Path(folder), "topic_prefix": f"bench{uuid.uuid4().hex[:8]}."}
        if needed <= external(named):
            settings = named.model_copy(update=own)
            keep_off_measured_core([])
            try:
                yield settings
            finally:
                _delete(settings, keep=None)
            return
        try:
            skipped: list[Part] = [] if postgres else ["postgres"]
            up(load_settings(own, env={}), skip=skipped, progress=say)
            settings = load_settings(own, env={})
            keep_off_measured_core(each.pid for each in status(settings).servers if each.pid)
            yield settings
        finally:
            down(load_settings(own, env={}), delete=True)


def place(settings: Settings, name: str) -> Settings:
    """Settings with a prefix of its own under the benchmark's, its topics and contracts made."""
    mine = settings.model_copy(update={"topic_prefix": f"{settings.topic_prefix}{name}."})
    list(create_topics(mine))
    list(Registry(mine).register_all())
    return mine


def reset(settings: Settings) -> None:
    """Make everything anew that a worker has written, and keep the events."""
    _delete(settings, keep=EVENTS)
    list(create_topics(settings))


def groups(admin: AdminClient, prefix: str) -> list[str]:
    """The consumer groups under a prefix."""
    listed = admin.list_consumer_groups().result().valid
    return [group.group_id for group in listed if group.group_id.startswith(prefix)]


def _delete(settings: Settings, keep: str | None) -> None:
    admin, prefix = AdminClient(kafka_config(settings)), settings.topic_prefix
    kept = None if keep is None else prefix + keep
    gone = {
        name
        for name in existing_topics(admin)
        if name.startswith(prefix) and not (kept and name.startswith(kept))
    }
    old = groups(admin, prefix)
    jobs = [
        *(admin.delete_topics(sorted(gone)).values() if gone else ()),
        *(admin.delete_consumer_groups(old).values() if old else ()),
    ]
    for job in jobs:
        try:
            job.result()
        except KafkaException as error:
            raise BenchError(f"cannot clean up under {prefix}: {error.args[0].str()}") from error
    wait_until(lambda: not gone & set(existing_topics(admin)), "the topics are deleted")
