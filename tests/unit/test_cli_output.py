"""Tables, JSON lines, secrets, and addresses that are taken."""

import json
import socket
from pathlib import Path

import pytest

from nilo_cli.errors import TakenError
from nilo_cli.main import main
from nilo_cli.output import _cell, printable, show_rows
from nilo_cli.run import require_free


def test_piped_output_is_json_lines_with_every_key(capsys: pytest.CaptureFixture[str]) -> None:
    show_rows([{"a": 1, "b": "ü"}, {"a": None, "b": Path("x")}], ["a"], as_json=False)
    lines = capsys.readouterr().out.splitlines()
    assert [json.loads(line) for line in lines] == [{"a": 1, "b": "ü"}, {"a": None, "b": "x"}]


def test_a_table_on_a_terminal_shows_the_columns(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    show_rows(
        [{"name": "[red]x", "messages": 1234567, "b": "hidden"}],
        ["name", "messages"],
        as_json=False,
    )
    told = capsys.readouterr().out
    assert "1,234,567" in told
    assert "[red]x" in told
    assert "hidden" not in told


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, ""), (True, "yes"), (False, "no"), (1000, "1,000"), (0.123456, "0.1235"), ("x", "x")],
)
def test_cells_are_short(value: object, text: str) -> None:
    assert _cell(value) == text


def test_control_characters_never_reach_a_terminal() -> None:
    assert printable("a\x1b[31m\nü漢") == "a\ufffd[31m\ufffdü漢"


def test_secrets_are_masked_and_sources_told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("NILO_HOME", str(tmp_path))
    monkeypatch.setenv("DATABASE_URL", "postgresql://u:hunter2@h/d")
    monkeypatch.setenv("NILO_KAFKA_SASL_PASSWORD", "hunter2")
    assert main(["--topic-prefix", "p.", "config", "show", "--json"]) == 0
    told = capsys.readouterr().out
    rows = {row["name"]: row for row in map(json.loads, told.splitlines())}
    assert "hunter2" not in told
    assert rows["database_url"]["value"] == "postgresql://u:****@h/d"
    assert rows["kafka_sasl_password"]["value"] == "****"
    assert rows["topic_prefix"]["source"] == "flag --topic-prefix"
    assert rows["home"]["source"] == "environment NILO_HOME"


def test_a_taken_port_is_a_clear_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(TakenError, match=rf"127\.0\.0\.1:{port} \(Address already in use\)"):
            require_free("127.0.0.1", port)
    require_free("127.0.0.1", port)


def test_a_foreign_address_is_a_clear_error() -> None:
    with pytest.raises(TakenError, match=r"192\.0\.2\.1:9465"):
        require_free("192.0.2.1", 9465)
