"""`nilo alerts` before real topics."""

from __future__ import annotations

import getpass
import json
import sys
from datetime import timedelta
from typing import Any

import pytest

from nilo_cli.main import main
from nilo_consumers import AlertConsumer
from nilo_schemas.alerts import Alert, AlertState
from nilo_schemas.settings import Settings
from tests.alerts import an_alert, publish
from tests.integration.sinking import produce

pytestmark = [
    pytest.mark.integration,
    pytest.mark.topics("alerts", "alerts.state", "alerts.silences"),
]
PENDING = {"state": AlertState.PENDING, "previous": AlertState.INACTIVE, "revision": 1}
RESOLVED = {"state": AlertState.RESOLVED, "previous": AlertState.FIRING, "revision": 3}


class Terminal:
    """Runs command lines in this process, as on a terminal or into a pipe."""

    def __init__(self, capture: pytest.CaptureFixture[str], patch: pytest.MonkeyPatch) -> None:
        self._capture, self._patch = capture, patch

    def __call__(self, *words: str, code: int = 0) -> str:
        """What a command line says on a terminal, to both of its outputs."""
        with self._patch.context() as patch:
            patch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
            found = main(["alerts", *words])
        told = self._capture.readouterr()
        assert found == code, told
        return told.out + told.err

    def json(self, *words: str) -> list[dict[str, Any]]:
        """The lines of JSON that a command line writes into a pipe."""
        found = main(["alerts", *words])
        told = self._capture.readouterr()
        assert found == 0, told
        return [json.loads(line) for line in told.out.splitlines()]


@pytest.fixture
def nilo(
    settings: Settings, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Terminal:
    for name, value in settings.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("COLUMNS", "200")
    return Terminal(capsys, monkeypatch)


def test_tail_shows_the_transitions_that_are_asked_for(settings: Settings, nilo: Terminal) -> None:
    firing, resolved = an_alert(), an_alert(**RESOLVED)
    publish(settings, [firing, resolved, an_alert(rule="LlmCost", severity="warning")])
    shown = nilo("tail", "-o", "beginning", "-e", "--rule", "LlmSlow", "--label", "model=atlas")
    assert [line.split()[1] for line in shown.splitlines()] == ["firing", "resolved"]
    assert firing.summary in shown
    one = nilo.json("tail", "-o", "beginning", "-e", "--severity", "warning", "--state", "firing")
    assert [each["rule"] for each in one] == ["LlmCost"]
    assert len(nilo.json("tail", "-o", "beginning", "-c", "2")) == 2


def test_tail_shows_what_does_not_decode(settings: Settings, nilo: Terminal) -> None:
    produce(settings, Alert.kafka_topic, [b"none"])
    assert "does not decode" in nilo("tail", "-o", "beginning", "-e", "--rule", "LlmSlow")


def test_list_has_the_active_alerts_the_gravest_first(settings: Settings, nilo: Terminal) -> None:
    grave = an_alert(rule="Down", state=AlertState.NO_DATA)
    light = an_alert(rule="Note", severity="info")
    publish(settings, [light, grave, an_alert(rule="Soon", severity="warning", **PENDING)])
    publish(settings, [an_alert(rule="Past", **RESOLVED)])
    assert [each["rule"] for each in nilo.json("list")] == ["Down", "Note"]
    assert [each["rule"] for each in nilo.json("list", "--pending")] == ["Down", "Soon", "Note"]
    assert len(nilo.json("list", "--all")) == 4
    assert [each["rule"] for each in nilo.json("list", "--severity", "info")] == ["Note"]
    table = nilo("list")
    for text in (grave.fingerprint, "no_data", "critical", "model=atlas", "6.5"):
        assert text in table


def test_without_an_active_alert_list_says_so(nilo: Terminal) -> None:
    assert nilo("list") == "no alert is active\n"


def test_show_has_everything_of_an_alert_and_of_any_of_its_transitions(
    settings: Settings, nilo: Terminal
) -> None:
    first, last = an_alert(runbook="https://wiki/slow", samples=["e1", "e2"]), an_alert(**RESOLVED)
    publish(settings, [first, last])
    assert "resolved" in nilo("show", last.fingerprint)
    shown = nilo("show", first.id)
    for text in (first.summary, first.reason, first.runbook, "events.llm/0 @ 0 to 9", "e2", "p95"):
        assert text in shown
    assert nilo.json("show", first.id)[0]["revision"] == 2


def test_ack_takes_an_alert_on_until_it_is_resolved_and_tells_consumers(
    settings: Settings, nilo: Terminal
) -> None:
    alert = an_alert()
    publish(settings, [alert])
    assert "ada has LlmSlow" in nilo("ack", alert.fingerprint, "--by", "ada", "--comment", "on it")
    assert nilo.json("list")[0]["acknowledged_by"] == "ada"
    assert "acknowledged by ada" in nilo("list")
    assert f"alert {alert.fingerprint}" in nilo("silences")
    with AlertConsumer("test", start="beginning", settings=settings) as consumer:
        assert next(consumer) == alert
        told = next(consumer)
    assert (told.acknowledged_by, told.fingerprint) == ("ada", alert.fingerprint)
    assert (told.id != alert.id, told.reason) == (True, "acknowledged by ada: on it")
    publish(settings, [an_alert(**RESOLVED)])
    assert nilo("silences") == "no silence is in force\n"
    publish(settings, [an_alert(revision=5, starts_at=alert.starts_at + timedelta(hours=1))])
    assert nilo.json("list")[0]["acknowledged_by"] is None


def test_silences_are_made_listed_and_deleted(settings: Settings, nilo: Terminal) -> None:
    publish(settings, [an_alert(), an_alert(labels={"model": "nova"})])
    (made,) = nilo.json(
        "silence", "model=atlas", 'alertname=~"Llm.*"', "--for", "2h", "--comment", "moving"
    )
    assert made["matching"] == [an_alert().fingerprint]
    assert made["created_by"] == getpass.getuser()
    quiet = {each["labels"]["model"]: each["silenced_by"] for each in nilo.json("list")}
    assert quiet == {"atlas": [made["id"]], "nova": []}
    listed = nilo("silences")
    for text in (made["id"], 'alertname=~"Llm.*"', "in force", "moving"):
        assert text in listed
    assert "would delete" in nilo("unsilence", made["id"], "--dry-run")
    assert len(nilo.json("silences")) == 1
    assert "add --yes" in nilo("unsilence", made["id"], code=2)
    assert nilo("unsilence", made["id"], "--yes").startswith("deleted")
    assert nilo.json("silences", "--all") == []


def test_a_silence_ends_at_the_time_that_is_given(nilo: Terminal) -> None:
    (made,) = nilo.json("silence", "model=atlas", "--until", "2222-01-01T12:00:00Z", "--by", "eve")
    assert (made["ends_at"], made["created_by"]) == ("2222-01-01T12:00:00Z", "eve")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["show", "none"], "no alert 'none': `nilo alerts list --all` shows"),
        (["ack", "none"], "no alert 'none': `nilo alerts list --all` shows"),
        (["unsilence", "none"], "no silence 'none': `nilo alerts silences` shows"),
        (["silence", "a=~(", "--for", "1h"], "'(' is no regular expression"),
        (["silence", "atlas", "--for", "1h"], "'atlas' is no matcher: use model=atlas"),
        (["silence", "a=b"], "either --for 2h or --until"),
        (["silence", "a=b", "--for", "1h", "--until", "now"], "either --for 2h or --until"),
        (["silence", "a=b", "--for", "long"], "--for 'long' is no length of time"),
        (["silence", "a=b", "--until", "2020-01-01"], "2020-01-01 00:00:00Z is past"),
        (["silence", "a=b", "--for", "1h", "--by", ""], "created_by: "),
        (["tail", "--severity", "grave"], "--severity: 'grave' matches no alert; known: info"),
        (["tail", "--label", "atlas"], "--label 'atlas': use NAME=VALUE"),
        (["list", "--severity", "grave"], "known: info, warning, critical"),
    ],
)
def test_what_is_wrong_is_told_with_the_way_out(
    nilo: Terminal, words: list[str], told: str
) -> None:
    assert told in nilo(*words, code=2)


def test_an_alert_that_is_over_is_not_taken_on(settings: Settings, nilo: Terminal) -> None:
    publish(settings, [an_alert(**RESOLVED)])
    assert "is resolved: there is nothing" in nilo("ack", an_alert().fingerprint, code=2)
