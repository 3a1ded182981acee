"""The code of the README runs as it stands there."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

from nilo_schemas.settings import Settings
from tests.alerts import an_alert, publish
from tests.integration.alerting import committed
from tests.integration.programs import nilo, wait_for

README = (Path(__file__).parents[2] / "README.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```$", README, re.M | re.S)


EMITS, CONSUMES = BLOCKS


def test_the_code_emits_an_event_that_tail_shows(settings: Settings) -> None:
    emitted = subprocess.run(
        [sys.executable, "-c", EMITS],
        env=os.environ | settings.environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    shown = nilo(settings, "tail", "events.llm", "-o", "beginning", "-e", "-J")

    assert (emitted.returncode, emitted.stderr) == (0, "")
    assert shown.stdout.count("\n") == 1, shown.stderr
    assert '"my-app"' in shown.stdout


def test_the_code_consumes_a_new_alert(settings: Settings) -> None:
    with subprocess.Popen(
        [sys.executable, "-u", "-c", CONSUMES],
        env=os.environ | settings.environment(),
        stdout=subprocess.PIPE,
        text=True,
    ) as program:
        wait_for("the start", lambda: len(committed(settings)) == settings.partitions)
        alert = an_alert()
        publish(settings, [alert])
        assert program.stdout is not None
        assert program.stdout.readline().startswith(f"{alert.id} {alert.summary} [SourceRange(")
        program.send_signal(signal.SIGTERM)
        assert program.wait(60) == 0
