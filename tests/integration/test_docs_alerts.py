"""The code, commands and queries of docs/alerts.md run as they stand there."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from nilo_schemas.settings import Settings
from tests.alerts import an_alert, publish
from tests.integration.alerting import committed
from tests.integration.programs import wait_for
from tests.integration.sinking import query, sinking, wait_count

pytestmark = [
    pytest.mark.integration,
    pytest.mark.topics("alerts", "alerts.state", "alerts.silences"),
]
PAGE = (Path(__file__).parents[2] / "docs" / "alerts.md").read_text()
PROGRAMS = {
    str(re.search(r'group="(\w+)"', code)[1]): code  # type: ignore[index]  # each names a group
    for code in re.findall(r"^```python\n(.*?)^```$", PAGE, re.M | re.S)
}
COMMANDS = "".join(re.findall(r"^```sh\n(.*?)^```$", PAGE, re.M | re.S))
QUERIES = [
    query for block in re.findall(r"^```sql\n(.*?)^```$", PAGE, re.M | re.S)
    for query in block.split(";") if query.strip()
]  # fmt: skip
SLOW = an_alert()
TOLD = {
    "keeper": "",
    "desk": f"firing critical {SLOW.summary}\n",
    "pager": f"page somebody: {SLOW.summary}\n",
}


@pytest.mark.parametrize("group", TOLD)
def test_each_program_handles_an_alert(settings: Settings, tmp_path: Path, group: str) -> None:
    publish(settings, [SLOW])
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAMS[group]],
        env=os.environ | settings.environment(),
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
    ) as program:
        if group == "keeper":
            wait_for("the alert", lambda: handled(tmp_path / "handled.db"))
        else:
            assert program.stdout is not None
            assert program.stdout.readline() == TOLD[group]
        program.send_signal(signal.SIGTERM)
        program.wait(60)
    if group != "desk":  # which leaves signals to Python
        assert program.returncode == 0
        assert sum(committed(settings, group).values()) == 1


def handled(file: Path) -> list[str]:
    if not file.exists():
        return []
    with closing(sqlite3.connect(file)) as store:
        try:
            return [row[0] for row in store.execute("SELECT id FROM handled")]
        except sqlite3.OperationalError:  # the table is not there yet
            return []


def test_the_page_has_these_programs() -> None:
    assert set(PROGRAMS) == set(TOLD)


def test_the_commands_say_what_is_silenced(settings: Settings, tmp_path: Path) -> None:
    publish(settings, [SLOW])
    nilo = f'nilo() {{ "{sys.executable}" -m nilo_cli "$@"; }}\nset -e\n'
    done = subprocess.run(
        ["bash", "-c", nilo + COMMANDS],
        cwd=tmp_path,
        env=os.environ | settings.environment() | {"FINGERPRINT": SLOW.fingerprint},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count(SLOW.summary) == 5  # listed, shown, acknowledged, and both in the tail


def test_the_queries_count_a_transition_once(settings: Settings) -> None:
    publish(settings, [SLOW, SLOW])
    with sinking("postgres", settings, topics=["alerts"]):
        wait_count("postgres", settings, 2, "alerts")
    newest, times = (query(settings, each) for each in QUERIES)
    assert [(row["rule"], row["model"]) for row in newest] == [("LlmSlow", "atlas")]
    assert [(row["rule"], row["times"]) for row in times] == [("LlmSlow", 1)]
