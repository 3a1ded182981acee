"""The file of the receivers, its errors, and the texts that templates make."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import pytest

from nilo_consumers.alerts.notify.labels import labels_of
from nilo_consumers.alerts.notify.notification import Notification, Outcome, Standing
from nilo_consumers.alerts.notify.push import HOLDS, RESEND, RESOLVED_FOR, Pushes
from nilo_consumers.alerts.notify.receivers import Receiver, matcher_of
from nilo_consumers.alerts.notify.receivers_file import load_receivers, receivers_of
from nilo_consumers.alerts.notify.sample import samples
from nilo_consumers.alerts.notify.texts import Texts
from nilo_consumers.alerts.suppress import Suppression
from nilo_consumers.errors import ReceiversError
from nilo_schemas.alerts import AlertState, Matcher
from nilo_schemas.notified import Notified
from nilo_schemas.settings import Settings
from tests.alerts import BEGUN, an_alert

DOCS = Path(__file__).parents[2] / "docs" / "notify.md"
QUIET = Suppression(silenced_by=("s-1",))


def loaded(folder: Path, text: str) -> tuple[Receiver, ...]:
    path = folder / "r.yaml"
    path.write_text(text)
    return load_receivers(path).receivers


def test_the_example_of_the_docs_is_a_right_file_with_the_defaults_it_claims(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLACK_URL", "json://127.0.0.1/x")
    monkeypatch.setenv("HOOK_SECRET", "s")
    (example,) = re.findall(r"```yaml\n(.*?)```", DOCS.read_text(), re.DOTALL)
    oncall, tickets, manager = loaded(tmp_path, example)
    assert [each.kind for each in (oncall, tickets, manager)] == [
        "apprise", "webhook", "alertmanager",
    ]  # fmt: skip
    waits = "group_wait", "group_interval", "repeat_interval", "send_resolved", "rate_limit"
    for name in waits:
        assert getattr(oncall, name) == getattr(tickets, name)
    assert tickets.group_by == ("alertname",)
    assert oncall.wants(an_alert(labels={"team": "search", "model": "atlas-2"}))
    assert not oncall.wants(an_alert(labels={"team": "search", "model": "other"}))
    assert not oncall.wants(an_alert(labels={"team": "search", "model": "atlas"}, severity="info"))


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("receivers:\n- name: a\n", 2, "exactly one of apprise, webhook, alertmanager"),
        ("receivers:\n- name: a\n  webhook: http://h\n  apprise: json://h\n", 2, "exactly one"),
        ("receivers:\n- name: a\n  webhook: h\n", 3, "http://"),
        ("receivers:\n- name: a\n  webhook: http://h\n  wait: 5m\n", 4, "Extra inputs"),
        ("receivers:\n- name: a\n  webhook: http://h\n  group_wait: soon\n", 4, "30s, 5m"),
        ("receivers:\n- name: a\n  webhook: http://h\n  group_interval: 0s\n", 4, "greater than"),
        ("receivers:\n- name: a\n  webhook: http://h\n  title: x\n", 2, "no meaning for webhook"),
        ("receivers:\n- name: a\n  alertmanager: http://h\n  rate_limit: 5\n", 2, "no meaning"),
        ("receivers:\n- name: a\n  apprise: nonsense://h\n", 3, "does not take this URL"),
        ("receivers:\n- name: a\n  apprise: json://h\n  body: '{{ x'\n", 4, "template is wrong"),
        ("receivers:\n- name: a\n  apprise: json://h\n  body: '{{ alerts[0].txt }}'\n", 4, "txt"),
        ("receivers:\n- name: a\n  webhook: {env: NONE_SUCH}\n", 3, "no NONE_SUCH"),
        ("receivers:\n- name: a\n  webhook: {file: /none/such}\n", 3, "/none/such is not readable"),
        ("receivers:\n- name: a\n  webhook: http://h\n  matchers: ['a~b']\n", 4, "is no matcher"),
        ("receivers:\n- name: a\n  webhook: http://h\n  matchers: ['a=~(']\n", 4, "regular expr"),
        ("receivers:\n- {name: a, webhook: http://h}\n- {name: a, webhook: http://h}\n", 1, "two"),
        ("receivers: [\n", 2, "not valid YAML"),
        ("", 1, "valid dictionary"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_refused_with_its_line(
    tmp_path: Path, text: str, line: int, reason: str
) -> None:
    with pytest.raises(ReceiversError, match=reason) as raised:
        loaded(tmp_path, text)
    assert str(raised.value).startswith(f"{tmp_path / 'r.yaml'}:{line}: ")


def test_no_file_and_an_absent_one_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(ReceiversError, match="NILO_NOTIFY"):
        receivers_of(Settings())
    with pytest.raises(ReceiversError, match="No such file"):
        receivers_of(Settings(notify_file=tmp_path / "none"))


@pytest.mark.parametrize(
    ("text", "matcher"),
    [
        ('a="b"', Matcher(name="a", value="b")),
        ("a.b != c-d ", Matcher(name="a.b", value="c-d", is_equal=False)),
        ('a=~"b|c"', Matcher(name="a", value="b|c", is_regex=True)),
        (r'a!~"\"x\" \\d"', Matcher(name="a", value=r'"x" \d', is_regex=True, is_equal=False)),
        ("a=", Matcher(name="a", value="")),
    ],
)
def test_matchers_are_written_as_in_alertmanager(text: str, matcher: Matcher) -> None:
    assert matcher_of(text) == matcher


def test_the_default_texts_say_what_fires_since_when_and_of_which_events() -> None:
    def fails() -> None:
        raise AssertionError

    texts = Texts(Receiver.model_validate({"name": "r", "apprise": "json://h"}), "", fails)
    alert = an_alert(advice="look at the queue", runbook="https://r")
    group = {"alertname": "LlmSlow"}
    told = texts.of(Notification("1", "r", BEGUN, (alert,), (group,)))
    assert told.title == "[FIRING:1] LlmSlow"
    assert told.body.split("\n") == [
        "FIRING LlmSlow (critical): p95 of llm.duration is 6.5 seconds, above 5",
        "  above 5 since 12:00",
        "  since 2025-06-01 12:00:00 UTC, model=atlas",
        "  look at the queue",
        "  https://r",
        "  events: events.llm/0 0-9",
    ]
    many = tuple(an_alert(labels={"n": str(number)}) for number in range(30))
    body = texts.of(Notification("1", "r", BEGUN, many, (group, group))).body
    assert body.count("FIRING") == 20
    assert "and 10 more" in body
    assert [texts.of(each).title for each in samples("r")] == [
        "[FIRING:1] NiloTestNotification", "[FIRING:2] NiloTestNotification",
        "[RESOLVED] NiloTestNotification", "[FIRING:1] 2 groups of alerts",
    ]  # fmt: skip


def test_labels_are_those_that_alertmanager_takes_and_none_is_lost() -> None:
    odd = {"severity": "s", "a.b": "1", "a_b": "2", "1st": "3", "ü": "4", "empty": ""}
    assert labels_of(an_alert(labels=odd)) == {
        "alertname": "LlmSlow", "severity": "critical", "metric": "llm.duration",
        "exported_severity": "s", "a_b": "1", "a_b_": "2", "_1st": "3", "_": "4",
    }  # fmt: skip


def test_alertmanager_gets_all_that_fires_each_minute_and_what_is_over_for_five() -> None:
    receiver = Receiver.model_validate({"name": "am", "alertmanager": "http://h"})
    desk = Pushes(receiver, [])
    firing, hidden = Standing(an_alert(), Suppression()), Standing(an_alert(rule="X"), QUIET)
    now = BEGUN + timedelta(hours=1)

    def pushed(*standings: Standing) -> dict[str, timedelta] | None:
        told = desk.take(standings, now)
        if told is None:
            return None
        notes.update({key: note for key, note in told.notes.items() if note is not None})
        desk.settle(told, Outcome.SENT, now)
        return {alert.rule: told.ends[alert.fingerprint] - now for alert in told.alerts}

    notes: dict[str, Notified] = {}
    assert pushed(firing, hidden) == {"LlmSlow": HOLDS}
    now += RESEND / 2
    assert pushed(firing, hidden) is None
    now += RESEND / 2
    assert pushed(firing, hidden) == {"LlmSlow": HOLDS}
    # Silenced after it was sent, it is sent on, by the next process as well.
    desk = Pushes(receiver, notes.values())
    assert pushed(Standing(firing.alert, QUIET)) == {"LlmSlow": HOLDS}
    # Over: at once, each minute for five, with the end that it had, and then no more.
    ended = firing.alert.model_copy(update={"state": AlertState.RESOLVED, "ends_at": now})
    over, end, told = Standing(ended, QUIET), now, 0
    while (ends := pushed(over)) != {}:
        assert ends == {"LlmSlow": end - now}
        now, told = now + RESEND, told + 1
    assert told == RESOLVED_FOR / RESEND
    assert desk.known == set()
    # Fires again.
    assert pushed(firing) == {"LlmSlow": HOLDS}
