"""The commands and queries of docs/files.md run as they stand there."""

from __future__ import annotations

import os
import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from nilo_producers import Producer
from nilo_schemas.families import DebateEvent, LlmEvent
from nilo_schemas.settings import Settings
from tests.integration.sinking import sinking, wait_count

pytestmark = pytest.mark.integration
PAGE = (Path(__file__).parents[2] / "docs" / "files.md").read_text()
COMMANDS = "".join(re.findall(r"^```sh\n(.*?)^```$", PAGE, re.M | re.S))
QUERIES = [
    query for block in re.findall(r"^```sql\n(.*?)^```$", PAGE, re.M | re.S)
    for query in block.split(";") if query.strip()
]  # fmt: skip


@pytest.fixture
def debate(settings: Settings) -> None:
    mine: dict[str, Any] = {"source": "arena", "session_id": "debate-7"}
    with Producer(settings) as producer:
        producer.emit(DebateEvent(type="debate.turn", agent="ada", turn=1, **mine))
        producer.emit(LlmEvent(type="llm.call", model="atlas", attributes={"region": "eu"}, **mine))


@pytest.mark.usefixtures("debate")
def test_the_page_is_true(settings: Settings, tmp_path: Path) -> None:
    with sinking("sqlite", settings, topics=["events.llm", "events.debate"]):
        wait_count("sqlite", settings, 1)
        wait_count("sqlite", settings, 1, "events.debate")
    with closing(sqlite3.connect(settings.sqlite_location)) as connection:
        calls, regions = (connection.execute(query).fetchall() for query in QUERIES)
    assert calls == [("atlas", 1, None, None)]
    assert regions == [("eu", 1)]

    nilo = f'nilo() {{ "{sys.executable}" -m nilo_cli "$@"; }}\nset -e\n'
    done = subprocess.run(
        ["bash", "-c", nilo + COMMANDS],
        cwd=tmp_path,
        env=os.environ | settings.environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count('"session_id": "debate-7"') == 2
    assert done.stdout.count('"emitted": 0') == 2
    assert "**turn 1, ada**" in (tmp_path / "debate-7.md").read_text()
