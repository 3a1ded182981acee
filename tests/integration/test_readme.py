"""The code of the README runs as it stands there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from nilo_schemas.settings import Settings
from tests.integration.programs import nilo

README = (Path(__file__).parents[2] / "README.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```$", README, re.M | re.S)


def test_the_readme_has_code() -> None:
    assert BLOCKS


@pytest.mark.parametrize("code", BLOCKS)
def test_the_code_emits_an_event_that_tail_shows(settings: Settings, code: str) -> None:
    emitted = subprocess.run(
        [sys.executable, "-c", code],
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
