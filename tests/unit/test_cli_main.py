"""The program as a whole: help, exit codes, errors in one line, what an import brings."""

import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import typer
from confluent_kafka import KafkaError, KafkaException

from nilo_cli.main import app, explain, main
from nilo_schemas.errors import SettingsError
from nilo_schemas.settings import Settings

ROOT = Path(__file__).parents[2]


def commands(group: Any = None, path: str = "nilo") -> Iterator[tuple[str, Any]]:
    """Every command with its full name."""
    group = group or typer.main.get_command(app)
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            if command.invoke_without_command:
                yield f"{path} {name}", command
            yield from commands(command, f"{path} {name}")
        else:
            yield f"{path} {name}", command


def last(name: str) -> str:
    return name.rpartition(" ")[2]


NAMES = [name for name, _ in commands()]


@pytest.fixture(autouse=True)
def nothing_configured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No server is known: neither from the environment nor from a file."""
    for name, field in Settings.model_fields.items():
        monkeypatch.delenv(f"NILO_{name.upper()}", raising=False)
        extra = field.json_schema_extra
        if isinstance(extra, dict):
            monkeypatch.delenv(str(extra["alias_env"]), raising=False)
    monkeypatch.setenv("NILO_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("name", NAMES)
def test_every_help_has_an_example_of_its_own(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*name.split()[1:], "--help"]) == 0
    example = capsys.readouterr().out.partition("Example:")[2]
    assert re.search(rf"^    (NILO_\w+=\S+ )?nilo .*{last(name)}", example, re.MULTILINE)


@pytest.mark.parametrize("name", NAMES)
def test_the_short_help_is_whole(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    main([*name.split()[1:-1], "--help"])
    listed = capsys.readouterr().out.partition("Commands:")[2]
    (line,) = [line for line in listed.splitlines() if line.split()[:1] == [last(name)]]
    assert not line.endswith("...")


def test_help_imports_none_of_the_heavy_parts() -> None:
    code = (
        "import sys, nilo_cli.main\n"
        "heavy = {'pydantic', 'confluent_kafka', 'pyarrow', 'faust', 'psycopg', 'rich'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"


def test_an_error_is_one_line_with_the_way_out(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["topics", "list"]) == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("nilo: kafka_bootstrap_servers is not set")
    assert "`nilo up`" in told.err
    assert told.err.count("\n") == 1


def test_debug_shows_the_traceback() -> None:
    with pytest.raises(SettingsError):
        main(["--debug", "topics", "list"])


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["emit", "llm.cal", "model=m"], "unknown event type 'llm.cal'"),
        (["emit", "llm.call", "modell=m"], "LlmEvent has no field 'modell'"),
        (["emit", "llm.call", "duration=slow"], "duration='slow'"),
        (["emit", "llm.call", "model"], "'model' is not FIELD=VALUE"),
        (["tail", "events.none"], "unknown topic 'events.none'"),
        (["tail", "events.llm", "-o", "yesterday"], "-o 'yesterday'"),
        (["tail", "events.llm", "-f", "%x"], "unknown token '%x'"),
        (["schemas", "show", "events.none"], "no contract for topic 'events.none'"),
        (["down", "--delete"], "add --yes"),
        (["sink", "mysql"], "mysql"),
        (["export", "--type", "llm.cal"], "unknown event type 'llm.cal'"),
        (["export", "--since", "yesterday"], "'yesterday' is no time"),
        (["import", "none.jsonl"], "none.jsonl: No such file"),
        (["process", "--metrics-port", "0"], "--metrics-port"),
        (["nonsense"], "nonsense"),
    ],
)
def test_wrong_usage_exits_with_2(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    assert told in capsys.readouterr().err


def test_a_settings_error_names_the_flag(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--topic-prefix", "no spaces", "config", "show"]) == 1
    assert "flag --topic-prefix" in capsys.readouterr().err


def test_status_without_a_stack_fails_and_says_what_to_do(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["status"]) == 1
    assert "start it with `nilo up`" in capsys.readouterr().out


def test_a_dry_run_of_down_stops_and_deletes_nothing(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "kept").touch()
    assert main(["down", "--delete", "--dry-run"]) == 0
    assert "would delete" in capsys.readouterr().out
    assert (tmp_path / "kept").exists()


def test_an_error_of_a_driver_is_told_in_one_line() -> None:
    assert explain(KafkaException(KafkaError(KafkaError._TRANSPORT))).startswith("Kafka: ")
    told = explain(psycopg.OperationalError("connection failed:\n\tno route"))
    assert told == "PostgreSQL: connection failed: no route; `nilo status` shows what runs"
    full = sqlite3.OperationalError("database or disk is full")
    assert explain(full).endswith("database or disk is full; TMPDIR names another folder")
    assert "bug" in explain(KeyError("x"))


def test_output_that_nobody_reads_is_no_error() -> None:
    command = f"{sys.executable} -m nilo_cli schemas show events.llm | true"
    told = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert told.stderr == ""


def test_the_page_names_every_command_and_no_other() -> None:
    page = (ROOT / "docs" / "cli.md").read_text()
    named = re.findall(r"^\| `(nilo [a-z -]+?)(?: [^a-z`].*?| [A-Z].*?)?` \|", page, re.MULTILINE)
    assert sorted(named) == sorted(NAMES)


def test_the_page_names_every_option_in_front() -> None:
    page = (ROOT / "docs" / "cli.md").read_text()
    root: Any = typer.main.get_command(app)
    options = [option.opts[0] for option in root.params if "completion" not in option.opts[0]]
    assert [option for option in options if f"`{option}" not in page] == []
