"""A disk that is full for a while: the sink waits, and what it then writes is all and once."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pytest
from deltalake import DeltaTable

from nilo_consumers import StoreUnavailableError, count_parquet
from nilo_consumers.audit.reconcile import reconcile
from nilo_consumers.lake import table_location
from nilo_consumers.tiers import archive
from nilo_schemas.codec import encode
from nilo_schemas.families import LlmEvent
from nilo_schemas.registry import Registry
from nilo_schemas.settings import Settings
from tests.integration.programs import wait_for
from tests.integration.sinking import LLM, get, produce, sinking, wait_count

pytestmark = [pytest.mark.integration, pytest.mark.topics("events.llm")]
DISK = 4 * 2**20  # bytes


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own that is soon full; skips where none may be mounted."""
    where = tmp_path / "disk"
    where.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "nilo-test", str(where)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no disk can be mounted here: it takes root, and in a container SYS_ADMIN")
    try:
        yield where
    finally:
        subprocess.run(["umount", "-l", str(where)], check=True)


@contextmanager
def full(disk: Path) -> Iterator[None]:
    """No byte is free on the disk while the block runs."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError:  # it is full
            pass
    yield
    ballast.unlink()


def events(number: int) -> list[LlmEvent]:
    """Such as no codec makes much smaller."""
    return [
        LlmEvent(type="llm.call", source="test", attributes={"text": os.urandom(300).hex()})
        for _ in range(number)
    ]


def test_a_full_disk_of_the_lake_loses_nothing(settings: Settings, disk: Path) -> None:
    """What fits no more is tried until there is room; a file begun in vain counts nowhere."""
    own = settings.model_copy(update={"lake": str(disk / "lake")})
    some, more = events(100), events(1000)
    produce(own, LLM, encoded(own, some))
    with sinking("parquet", own, topics=[LLM]) as sink:
        wait_count("parquet", own, 100)
        with full(disk):
            produce(own, LLM, encoded(own, more))
            wait_for("trouble is told", lambda: get(f"{sink.url}/health")[0] == 503)
            assert "the disk of the lake is full" in get(f"{sink.url}/health")[1]
            assert count_parquet(own, LLM) == 100
        wait_count("parquet", own, 1100)
        wait_for("health", lambda: get(f"{sink.url}/health")[0] == 200)

    ledger = reconcile(own, [LLM], stores=["parquet"])
    assert ledger.clean, ledger.certificate()
    out = exported(own, "/dev/full")
    assert (out.returncode, out.stderr.count("what is there is not whole")) == (1, 1)
    assert texts(own) == {(each.id, each.attributes["text"]) for each in some + more}


def test_a_full_disk_of_the_archive_leaves_no_half_file(disk: Path) -> None:
    path = disk / "events_llm" / "event_date=2026-01-01" / "part-0001.avro"
    rows = [each.to_avro() | {"kafka_partition": 0, "kafka_offset": 0} for each in events(20_000)]
    with pytest.raises(StoreUnavailableError, match=r"part-0001\.avro: No space left on device"):
        archive.write(path, LlmEvent, rows)

    assert not list(path.parent.iterdir())


def encoded(settings: Settings, some: list[LlmEvent]) -> list[bytes]:
    schema_id = Registry(settings).schema_id(LlmEvent)
    return [encode(each, schema_id) for each in some]


def exported(settings: Settings, path: str) -> subprocess.CompletedProcess[str]:
    """`nilo export` into a file."""
    with open(path, "wb") as file:  # noqa: PTH123
        words = "export", "--type", "llm.call", "--from", "parquet", "--format", "jsonl"
        return subprocess.run(
            [sys.executable, "-m", "nilo_cli", *words],
            env=os.environ | settings.environment(),
            stdout=file, stderr=subprocess.PIPE, text=True, timeout=120, check=False,
        )  # fmt: skip


def texts(settings: Settings) -> set[tuple[str, str]]:
    """Id and text of each row that counts, as DuckDB reads the files."""
    files = DeltaTable(table_location(settings, LLM)).file_uris()
    return set(
        duckdb.execute("SELECT id, attributes['text'] FROM read_parquet(?)", [files]).fetchall()
    )
