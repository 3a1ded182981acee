"""`nilo bench`: which program it runs, what it makes of the report, and its exit code."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import nilo_cli
from nilo_cli.main import main

ROOT = Path(__file__).parents[2]
REPORT: dict[str, Any] = {
    "bench": "engine",
    "ratios": [{"name": "ours over theirs", "value": 2.5, "goal": 2.0, "holds": True}],
    "figures": {"events": 3},
    "versions": {"python": "3"},
}


class Checkout:
    """A checkout whose benchmarks write their arguments to stderr and print what they are given."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = root
        monkeypatch.setattr(nilo_cli, "__file__", str(root / "cli" / "nilo_cli" / "__init__.py"))

    def prints(self, module: str, text: str, code: int = 0) -> None:
        """Make this module say `text` and end with `code`."""
        self.holds(
            module,
            "import os, sys\n"
            "print(sys.argv[1:], os.environ.get('NILO_TOPIC_PREFIX'), file=sys.stderr)\n"
            f"print({text!r})\nsys.exit({code})\n",
        )

    def holds(self, module: str, program: str) -> None:
        """Make this module this program."""
        # with __init__.py: else the real package `tests`, also on the path, would win over it
        for name in ("tests", "tests/bench", "tests/chaos"):
            (self.root / name).mkdir(exist_ok=True)
            (self.root / name / "__init__.py").touch()
        (self.root / f"{module.replace('.', '/')}.py").write_text(program)


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Checkout:
    return Checkout(tmp_path, monkeypatch)


@pytest.mark.parametrize(
    ("words", "module", "options"),
    [
        (["engine"], "tests.bench.engine", []),
        (["anomaly", "--quick"], "tests.bench.anomaly", ["--quick"]),
        (["engine", "--quick"], "tests.bench.engine", ["--quick"]),
        (
            ["engine", "--events", "20000", "--rounds", "1"],
            "tests.bench.engine",
            ["--events", "20000", "--rounds", "1"],
        ),
        (["sinks"], "tests.bench.sinks", []),
        (["replay", "--rounds", "1"], "tests.bench.replay", ["--rounds", "1"]),
        (["sinks", "--without-quix"], "tests.bench.sinks", ["--without-quix"]),
        (["transports", "--quick"], "tests.bench.transports", ["--events", "200000"]),
        (["chaos"], "tests.chaos.run", ["--kills", "10"]),
        (
            ["chaos", "--kills", "100", "--seconds", "60", "--seed", "0"],
            "tests.chaos.run",
            ["--kills", "100", "--seconds", "60.0", "--seed", "0"],
        ),
        (["chaos", "--quick"], "tests.chaos.run", ["--kills", "3"]),
        (["hot", "--events", "5"], "tests.bench.run", ["--events", "5"]),
        (["incidents"], "tests.bench.incidents", []),
        (
            ["incidents", "--quick", "--seed", "7"],
            "tests.bench.incidents",
            ["--quick", "--seed", "7"],
        ),
    ],
)
def test_each_command_runs_its_program_with_its_options(
    checkout: Checkout,
    capfd: pytest.CaptureFixture[str],
    words: list[str],
    module: str,
    options: list[str],
) -> None:
    checkout.prints(module, json.dumps(REPORT))

    assert main(["bench", *words]) == 0
    told = capfd.readouterr()
    assert told.err.strip() == f"{[*options, '--json']} None"
    assert json.loads(told.out) == REPORT


def test_options_in_front_reach_the_benchmark(
    checkout: Checkout, capfd: pytest.CaptureFixture[str]
) -> None:
    checkout.prints("tests.bench.engine", json.dumps(REPORT))

    assert main(["--topic-prefix", "mine.", "bench", "engine"]) == 0
    assert capfd.readouterr().err.strip() == "['--json'] mine."


@pytest.mark.parametrize("code", [0, 1])
def test_a_missed_goal_exits_with_1_and_is_still_told(
    checkout: Checkout, capfd: pytest.CaptureFixture[str], code: int
) -> None:
    missed = REPORT | {"ratios": [REPORT["ratios"][0] | {"holds": False}]}
    checkout.prints("tests.bench.engine", json.dumps(missed), code)

    assert main(["bench", "engine"]) == 1
    assert json.loads(capfd.readouterr().out) == missed


def test_a_ratio_without_a_goal_is_not_missed(
    checkout: Checkout, capfd: pytest.CaptureFixture[str]
) -> None:
    checkout.prints("tests.bench.run", json.dumps(REPORT | {"ratios": [{"name": "x", "value": 1}]}))

    assert main(["bench", "hot"]) == 0


def test_the_exit_code_of_a_program_that_failed_is_its_own(
    checkout: Checkout, capfd: pytest.CaptureFixture[str]
) -> None:
    checkout.prints("tests.chaos.run", "no report", code=7)

    assert main(["bench", "chaos"]) == 7
    assert capfd.readouterr().out == ""


def test_people_see_a_table(
    checkout: Checkout, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    checkout.prints("tests.bench.engine", json.dumps(REPORT))
    monkeypatch.setattr("nilo_cli.bench_run.wants_json", lambda asked: asked)
    monkeypatch.setattr("nilo_cli.output.wants_json", lambda asked: asked)

    assert main(["bench", "engine"]) == 0
    told = capfd.readouterr().out
    assert [line.split() for line in told.splitlines() if "ours over theirs" in line] == [
        ["ours", "over", "theirs", "2.5", "2", "yes"]
    ]
    assert "events" in told
    assert "python 3" in told


def test_without_a_checkout_it_says_so_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(nilo_cli, "__file__", str(tmp_path / "a" / "nilo_cli" / "__init__.py"))

    assert main(["bench", "engine"]) == 1
    told = capfd.readouterr().err
    assert told.startswith("nilo: benchmarks run from a checkout")
    assert told.count("\n") == 1


def test_sigterm_goes_to_the_benchmark_and_its_end_is_waited_for(checkout: Checkout) -> None:
    checkout.holds(
        "tests.bench.engine",
        "import signal, sys\n"
        "def end(*_):\n    print('cleaned up', file=sys.stderr, flush=True)\n    sys.exit(143)\n"
        "signal.signal(signal.SIGTERM, end)\n"
        "print('ready', file=sys.stderr, flush=True)\nsignal.pause()\n",
    )
    code = (
        f"import nilo_cli\nnilo_cli.__file__ = {nilo_cli.__file__!r}\n"
        "import sys\nfrom nilo_cli.main import main\nsys.exit(main(['bench', 'engine']))"
    )
    nilo = subprocess.Popen(
        [sys.executable, "-c", code], stderr=subprocess.PIPE, text=True, env=os.environ, cwd=ROOT
    )
    assert nilo.stderr is not None
    assert nilo.stderr.readline() == "ready\n"

    nilo.send_signal(signal.SIGTERM)

    assert nilo.stderr.readline() == "cleaned up\n"
    assert nilo.wait(30) == 143
