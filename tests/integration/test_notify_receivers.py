"""What receivers get: webhooks signed, Apprise's services, mail; failures, secrets, limits.

Apprise and the SMTP client are real; the services are local servers.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
from collections.abc import Iterator
from datetime import timedelta
from email import message_from_bytes
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from aiosmtpd.controller import Controller

from nilo_consumers.alerts.notify.run import send_test
from nilo_consumers.errors import ReceiversError, StoreUnavailableError
from nilo_schemas.alerts import AlertState, Matcher, Silence
from nilo_schemas.settings import Settings
from tests.alerts import publish, say
from tests.integration.hook import Hook, hook
from tests.integration.notifying import AT_ONCE, an_alert_now, notified, notifying, with_receivers
from tests.integration.programs import free_port, nilo, wait_for
from tests.integration.sinking import get

pytestmark = [
    pytest.mark.integration,
    pytest.mark.topics("alerts", "alerts.state", "alerts.silences", "alerts.notified"),
]
DOCS = Path(__file__).parents[2] / "docs" / "notify.md"
SECRET = "s3cret-nobody-may-see"
TITLE = "{{ status }}: {{ firing | length }}"
BODY = "{% for a in alerts %}{{ a.labels.model }} {{ a.labels.none }}{% endfor %}"
ONE = "firing Slow:firing"


@pytest.fixture
def server() -> Iterator[Hook]:
    with hook() as server:
        yield server


def webhook(server: Hook, name: str = "r", **more: Any) -> dict[str, Any]:
    return {"name": name, "webhook": f"{server.url}/{name}", **AT_ONCE, **more}


def paths(server: Hook) -> list[str]:
    return [got.path for got in server.got]


def test_a_webhook_is_alertmanagers_with_evidence_and_its_signature_is_that_of_the_docs(
    server: Hook, settings: Settings, tmp_path: Path
) -> None:
    mine = with_receivers(settings, tmp_path, webhook(server, secret=SECRET))
    alert = an_alert_now(labels={"model": "atlas", "severity": "mine"}, samples=["e-1"])
    publish(mine, [alert])
    with notifying(mine):
        wait_for("it", lambda: server.got)
    (got,) = server.got
    body = got.json
    assert (body["version"], body["status"], body["receiver"]) == ("4", "firing", "r")
    assert body["groupKey"] == 'r:{alertname="Slow"}'
    assert body["groupLabels"] == {"alertname": "Slow"}
    assert body["alerts"][0]["endsAt"] == "0001-01-01T00:00:00Z"
    assert body["commonLabels"] == body["alerts"][0]["labels"] == {
        "alertname": "Slow", "severity": "critical", "metric": "llm.duration", "model": "atlas",
        "exported_severity": "mine",
    }  # fmt: skip
    assert body["commonAnnotations"]["evidence"] == "events.llm/0 0-9"
    assert body["alerts"][0]["nilo"]["samples"] == ["e-1"]
    assert re.fullmatch("[0-9a-f]{32}", got.headers["Idempotency-Key"])

    (code,) = re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)
    assert names["genuine"](got.body, got.headers, SECRET)
    assert not names["genuine"](got.body + b" ", got.headers, SECRET)
    assert not names["genuine"](got.body, got.headers, "another")
    old = {**got.headers, "X-Nilo-Timestamp": "1"}
    signature = hmac.new(SECRET.encode(), b"1." + got.body, hashlib.sha256).hexdigest()
    assert not names["genuine"](got.body, old | {"X-Nilo-Signature": f"sha256={signature}"}, SECRET)


def test_apprise_posts_json_and_forms_made_by_templates(
    server: Hook, settings: Settings, tmp_path: Path
) -> None:
    place = server.url.removeprefix("http://")
    mine = with_receivers(
        settings, tmp_path,
        AT_ONCE | {"name": "json", "apprise": f"json://{place}/j", "title": TITLE, "body": BODY},
        {"name": "form", "apprise": f"form://{place}/form", **AT_ONCE},
    )  # fmt: skip
    publish(mine, [an_alert_now()])
    with notifying(mine) as running:
        wait_for("both", lambda: running.ended("sent") == 2)
    by_path = {got.path: got for got in server.got}
    assert len(server.got) == 2
    sent = by_path["/j"].json
    assert (sent["title"], sent["message"].strip(), sent["type"]) == (
        "firing: 1",
        "atlas",
        "failure",
    )
    form = parse_qs(by_path["/form"].body.decode())
    assert form["title"] == ["[FIRING:1] Slow"]
    assert "p95 of llm.duration is 6.5 seconds, above 5" in form["message"][0]
    assert "events.llm/0 0-9" in form["message"][0]


def test_a_template_that_fails_gives_the_default_text_and_is_counted(
    server: Hook, settings: Settings, tmp_path: Path
) -> None:
    url = server.url.replace("http", "json")
    # The sample has no window of an hour, so the fault does not show when the file is read.
    body = "{% if alerts[0].window == '1h' %}{{ 1 // 0 }}{% endif %}"
    mine = with_receivers(
        settings, tmp_path, {"name": "r", "apprise": url, "body": body, **AT_ONCE}
    )
    publish(mine, [an_alert_now(window="1h")])
    with notifying(mine) as running:
        wait_for("it", lambda: running.ended("sent") == 1)
        assert running.value("nilo_notification_template_failures_total") == 1
    assert "above 5" in server.got[0].json["message"]


class Mails:
    """Keeps what is mailed."""

    def __init__(self) -> None:
        self.got: list[Any] = []

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802  the name that is called
        self.got.append(message_from_bytes(envelope.content))
        return "250 OK"


def test_apprise_mails(settings: Settings, tmp_path: Path) -> None:
    mails, port = Mails(), int(free_port())
    smtp = Controller(mails, hostname="127.0.0.1", port=port)
    smtp.start()
    try:
        url = f"mailto://127.0.0.1:{port}?from=nilo@example.org&to=ada@example.org&format=text"
        mine = with_receivers(settings, tmp_path, {"name": "mail", "apprise": url})
        send_test(mine, "mail")
    finally:
        smtp.stop()
    (mail,) = mails.got
    assert mail["To"] == "ada@example.org"
    assert "NiloTestNotification" in str(mail["Subject"])


def test_a_receiver_that_hangs_or_fails_holds_up_no_other_and_gets_it_in_the_end(
    server: Hook, settings: Settings, tmp_path: Path
) -> None:
    with hook() as slow, hook() as failing:
        slow.open.clear()
        failing.answers = [503, 429]
        mine = with_receivers(
            settings, tmp_path, webhook(slow, "slow"), webhook(failing, "failing"), webhook(server),
        )  # fmt: skip
        publish(mine, [an_alert_now()])
        with notifying(mine) as running:
            wait_for("the slow one", lambda: slow.got)
            publish(mine, [an_alert_now("Later")])
            wait_for("the others", lambda: len(server.got) == 2 and len(failing.got) == 4)
            wait_for("health", lambda: get(f"{running.url}/health")[0] == 200)
            assert len(slow.got) == 1
            slow.open.set()
            wait_for("all", lambda: len(slow.got) == 2)
            wait_for("the counts", lambda: running.ended("sent") == 6)
            assert running.ended("failed") == 2
        # An attempt that failed has the id of the one that did not.
        assert len({got.headers["Idempotency-Key"] for got in failing.got}) == 2


def test_what_broke_off_is_uncertain_and_not_repeated_within_the_interval(
    server: Hook, settings: Settings, tmp_path: Path
) -> None:
    server.answers = [0]
    mine = with_receivers(settings, tmp_path, webhook(server))
    publish(mine, [an_alert_now()])
    with notifying(mine) as running:
        wait_for("the count", lambda: running.ended("uncertain") == 1)
        publish(mine, [an_alert_now("Later")])
        wait_for("the other", lambda: running.ended("sent") == 1)
    assert server.drawn() == [ONE, "firing Later:firing"]


def test_a_refusal_shows_in_health_and_is_logged_once(
    server: Hook, settings: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server.answers = [404, 404]
    mine = with_receivers(settings, tmp_path, webhook(server))
    publish(mine, [an_alert_now(), an_alert_now("Other")])
    with notifying(mine) as running:
        wait_for("both", lambda: running.ended("refused") == 2)
        status, body = get(f"{running.url}/health")
        assert (status, "receiver r answers 404" in body) == (503, True)
        assert sum("answers 404" in line for line in caplog.messages) == 1
        publish(mine, [an_alert_now("Good")])
        wait_for("health", lambda: get(f"{running.url}/health")[0] == 200)


def test_silenced_alerts_are_counted_and_not_told(
    server: Hook, settings: Settings, tmp_path: Path
) -> None:
    mine = with_receivers(settings, tmp_path, webhook(server))
    alert = an_alert_now()
    day = timedelta(days=1)
    matcher = Matcher(name="alertname", value="Slow")
    say(mine, Silence(matchers=[matcher], starts_at=alert.time - day, ends_at=alert.time + day,
                      created_by="ada"))  # fmt: skip
    publish(mine, [alert, an_alert_now("Other"), an_alert_now("Waits", state=AlertState.PENDING)])
    with notifying(mine) as running:
        wait_for("the other", lambda: running.ended("sent") == 1)
        assert running.value("nilo_notification_alerts_suppressed_total") == 1
    assert server.drawn() == ["firing Other:firing"]


def test_more_groups_than_the_limit_come_as_one_summary(
    server: Hook, settings: Settings, tmp_path: Path
) -> None:
    mine = with_receivers(settings, tmp_path, webhook(server, rate_limit=2))
    publish(mine, [an_alert_now(f"Rule{number}") for number in range(6)])
    with notifying(mine) as running:
        wait_for("both", lambda: running.ended("sent") == 2)
        folded = running.value("nilo_notification_groups_rate_limited_total")
    assert [len(got.json["alerts"]) for got in server.got] == [1, 5]
    assert folded == len(server.got[1].json["nilo"]["groups"]) == 5
    assert len(notified(mine)) == 6


def test_no_secret_reaches_a_log_an_error_metrics_or_the_topic(
    settings: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    caplog.set_level(logging.DEBUG)
    nobody = f"127.0.0.1:{free_port()}"
    key = tmp_path / "key"
    key.write_text(f"{SECRET}-key\n")
    monkeypatch.setenv("HOOK", f"http://user:{SECRET}@{nobody}/{SECRET}?token={SECRET}")
    mine = with_receivers(
        settings, tmp_path,
        AT_ONCE | {"name": "slack", "apprise": f"jsons://u:{SECRET}@{nobody}/{SECRET}?+X={SECRET}"},
        {"name": "hook", "webhook": {"env": "HOOK"}, "secret": {"file": str(key)}, **AT_ONCE},
        {"name": "manager", "alertmanager": {"env": "HOOK"}},
        {"name": "bad", "webhook": f"http://{nobody}/a b{SECRET}", **AT_ONCE},
    )  # fmt: skip
    publish(mine, [an_alert_now()])
    with notifying(mine) as running:
        for name in ("slack", "hook", "manager", "bad"):
            wait_for(name, lambda: running.value("nilo_notifications_total", receiver=name))  # noqa: B023  called here
        seen = running.page() + get(f"{running.url}/health")[1] + str(notified(mine))
    for name in ("slack", "hook", "manager", "bad"):
        with pytest.raises(StoreUnavailableError) as raised:
            send_test(mine, name)
        seen += str(raised.value)
    for values in (
        {"apprise": f"nonsense://{SECRET}"}, {"webhook": f"ftp://{SECRET}"}, {f"x://{SECRET}": 1},
        {"webhook": "http://h", "secret": SECRET, "title": "x"}, {"webhook": [SECRET]},
        {"webhook": {"env": f"NONE{SECRET}"[:4]}}, f"apprise:x://{SECRET}",
    ):  # fmt: skip
        made: Any = values if isinstance(values, str) else {"name": "r", **values}
        with pytest.raises(ReceiversError) as refused:
            send_test(with_receivers(settings, tmp_path, made), "r")
        seen += str(refused.value)
    (tmp_path / "receivers.yaml").write_text(f"receivers: [{{apprise: '{SECRET}]\n")
    with pytest.raises(ReceiversError) as refused:
        send_test(mine, "r")
    seen += str(refused.value) + caplog.text
    assert SECRET not in seen


def test_the_command_line_tries_a_receiver_and_shows_what_would_be_sent(
    server: Hook, settings: Settings, tmp_path: Path
) -> None:
    mine = with_receivers(settings, tmp_path, webhook(server))
    done = nilo(mine, "sink", "notify", "--test", "r")
    assert (done.returncode, done.stdout) == (0, "sent to r\n"), done.stderr
    assert server.drawn() == ["firing NiloTestNotification:firing"]
    wrong = nilo(mine, "sink", "notify", "--test", "none")
    assert (wrong.returncode, wrong.stderr) == (
        1,
        "nilo: no receiver is called 'none'; there are r\n",
    )
    foreign = nilo(mine, "sink", "postgres", "--dry-run")
    assert foreign.returncode == 2
