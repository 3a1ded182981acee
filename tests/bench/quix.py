"""Quix Streams' sinks under measurement, in an environment of their own made by uv.

It lies in the user's cache and is made once, from PyPI; `quix_postgres.py` and `quix_files.py` are
the programs.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException
from confluent_kafka.admin import AdminClient

from nilo_deploy.artifacts import cache
from nilo_schemas.clients import kafka_config
from nilo_schemas.settings import Settings
from tests.bench.measure import Run, started
from tests.bench.nilo_sink import rated
from tests.bench.servers import BenchError, Say
from tests.bench.stream import Stream
from tests.bench.topic import TOPIC

VERSION = "3.28.1"
# What it writes at once; more is no faster.
COMMIT_EVERY = 10_000
_WANTED = (f"quixstreams[avro,postgresql,parquet]=={VERSION}", "pyarrow")
_LIMIT = 600.0  # seconds


def environment(say: Say) -> Path:
    """The interpreter of an environment with Quix Streams, which is made where it is missing.

    Raises:
        BenchError: there is no uv, or PyPI does not answer.
    """
    folder = cache() / f"bench-quixstreams-{VERSION}"
    python = folder / "bin" / "python"
    if not python.exists():
        say(f"making an environment with Quix Streams {VERSION} from PyPI in {folder}")
        _make(folder)
    return python


def _make(folder: Path) -> None:
    uv = shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if uv is None:
        raise BenchError("Quix Streams needs uv, which `make env` installs; or --without-quix")
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = folder.with_name(f"{folder.name}-{uuid.uuid4().hex[:8]}")  # renamed when complete
    try:
        _run(uv, "venv", "--quiet", "--relocatable", "--python", sys.executable, str(draft))
        python = str(draft / "bin" / "python")
        _run(uv, "pip", "install", "--quiet", "--python", python, *_WANTED)
        with contextlib.suppress(OSError):  # another benchmark was faster
            draft.rename(folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _run(*command: str) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=_LIMIT)
    except subprocess.TimeoutExpired:
        raise BenchError(_failed(f"no answer within {_LIMIT:.0f} s")) from None
    except subprocess.CalledProcessError as error:
        last = (error.stderr or "").strip().splitlines()[-1:] or ["it told nothing"]
        raise BenchError(_failed(last[0].strip())) from error


def _failed(why: str) -> str:
    return (
        f"no environment with Quix Streams {VERSION} (is PyPI reachable? uv says: {why}); "
        "or --without-quix"
    )


def work_off(python: Path, program: str, settings: Settings, stream: Stream) -> Run:
    """A new app takes the whole topic; it counts as stored what its group has committed.

    Args:
        python: see `environment`.
        program: `quix_postgres` or `quix_files`.
        settings: where the servers are, and a schema or a folder with nothing in it.
        stream: what is in the topic.
    """
    group = f"{settings.topic_prefix}{program}-{uuid.uuid4().hex[:8]}"
    variables = os.environ | {
        "BENCH_BROKER": settings.brokers(),
        "BENCH_REGISTRY": settings.registry_url(),
        "BENCH_DATABASE": settings.database(),
        "BENCH_TOPIC": settings.topic_prefix + TOPIC,
        "BENCH_GROUP": group,
        "BENCH_SCHEMA": settings.database_schema,
        "BENCH_FOLDER": settings.lake_location,
        "BENCH_COMMIT_EVERY": str(min(COMMIT_EVERY, stream.events // 4)),
    }
    for name in ("PYTHONPATH", "PYTHONHOME"):
        variables.pop(name, None)
    command = [str(python), str(Path(__file__).with_name(f"{program}.py"))]
    log = settings.home / f"{program}.log"
    admin = AdminClient(kafka_config(settings) | {"log_level": 0})
    with started(command, variables, log) as measured:
        return rated(lambda: measured.sample(_committed(admin, group)), stream)


def _committed(admin: AdminClient, group: str) -> int:
    try:
        job: Any = admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)])[group]
        return sum(max(each.offset, 0) for each in job.result().topic_partitions)
    except KafkaException:
        return 0  # the group is not there yet
