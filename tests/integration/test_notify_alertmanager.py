"""The push into Debian's Alertmanager, which notifies a local HTTP server."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
import yaml

from nilo_consumers.alerts.notify import push
from nilo_consumers.alerts.notify.run import send_test
from nilo_schemas.alerts import Alert, AlertState, Matcher, Silence
from nilo_schemas.settings import Settings
from tests.alerts import publish, say
from tests.integration.debian import in_its_place, program
from tests.integration.hook import Hook, hook
from tests.integration.notifying import an_alert_now, notifying, with_receivers
from tests.integration.programs import free_port, wait_for
from tests.integration.sinking import get

pytestmark = [
    pytest.mark.integration,
    pytest.mark.topics("alerts", "alerts.state", "alerts.silences", "alerts.notified"),
]
PACKAGE = "prometheus-alertmanager"


@contextmanager
def alertmanager(target: str, folder: Path) -> Iterator[str]:
    """An Alertmanager that tells a webhook at once of all that is new, while the block runs."""
    config, url = folder / "alertmanager.yml", f"http://127.0.0.1:{free_port()}"
    route = {"receiver": "hook", "group_by": ["alertname"], "group_wait": "0s",
             "group_interval": "1s", "repeat_interval": "1h"}  # fmt: skip
    receiver = {"name": "hook", "webhook_configs": [{"url": target}]}
    config.write_text(yaml.safe_dump({"route": route, "receivers": [receiver]}))
    process = subprocess.Popen(
        [
            *in_its_place(program(PACKAGE, PACKAGE), PACKAGE),
            f"--config.file={config}",
            f"--storage.path={folder / 'data'}",
            f"--web.listen-address={url.removeprefix('http://')}",
            "--cluster.listen-address=",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for("Alertmanager", lambda: ready(url))
        yield url
    finally:
        process.terminate()
        process.wait(30)


def ready(url: str) -> bool:
    try:
        return get(f"{url}/-/ready")[0] == 200
    except OSError:
        return False


def held(url: str) -> dict[str, dict[str, Any]]:
    """The alerts that it holds for active, by name."""
    return {
        each["labels"]["alertname"]: each for each in json.loads(get(f"{url}/api/v2/alerts")[1])
    }


def states(url: str) -> dict[str, str]:
    return {name: each["status"]["state"] for name, each in held(url).items()}


@pytest.fixture
def server() -> Iterator[Hook]:
    with hook() as server:
        yield server


def over(alert: Alert) -> Alert:
    now = datetime.now(UTC)
    values = {"state": AlertState.RESOLVED, "revision": 3, "time": now, "ends_at": now}
    return alert.model_copy(update=values)


def test_alerts_are_active_there_sent_again_and_resolved_and_told_once_each(
    server: Hook, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(push, "RESEND", timedelta(seconds=0.5))
    with alertmanager(server.url, tmp_path) as url:
        mine = with_receivers(settings, tmp_path, {"name": "am", "alertmanager": url})
        odd = an_alert_now("Odd", labels={"model.name": "a", "severity": "x", "none": ""})
        slow, pending = an_alert_now("Slow"), an_alert_now("Waits", state=AlertState.PENDING)
        publish(mine, [slow, odd, pending])
        with notifying(mine) as running:
            wait_for("both", lambda: held(url).keys() == {"Slow", "Odd"})
            first = held(url)
            assert first["Odd"]["labels"] == {
                "alertname": "Odd", "severity": "critical", "metric": "llm.duration",
                "model_name": "a", "exported_severity": "x",
            }  # fmt: skip
            assert first["Slow"]["annotations"]["summary"] == slow.summary
            began = datetime.fromisoformat(first["Slow"]["startsAt"])  # to the millisecond
            assert slow.starts_at - began < timedelta(milliseconds=1)
            assert first["Slow"]["status"]["state"] == "active"
            wait_for("the resend", lambda: held(url)["Slow"]["endsAt"] > first["Slow"]["endsAt"])
            assert held(url)["Slow"]["fingerprint"] == first["Slow"]["fingerprint"]

            # Silent data is the same alert; a silence of ours does not make it resolved.
            publish(mine, [odd.model_copy(update={"state": AlertState.NO_DATA, "revision": 3})])
            wait_for("it", lambda: held(url)["Odd"]["annotations"]["state"] == "no_data")
            matcher = Matcher(name="alertname", value=".*", is_regex=True)
            now = datetime.now(UTC)
            say(mine, Silence(matchers=[matcher], starts_at=now, created_by="ada"))
            publish(mine, [an_alert_now("Hidden")])
            suppressed = "nilo_notification_alerts_suppressed_total"
            wait_for("the silence", lambda: running.value(suppressed) == 1)
            seen = held(url)["Odd"]["endsAt"]
            wait_for("the resend", lambda: held(url)["Odd"]["endsAt"] > seen)

            publish(mine, [over(slow)])
            wait_for("its end", lambda: held(url).keys() == {"Odd"})
            wait_for("its word", lambda: "resolved Slow:resolved" in server.drawn())
        # Another process knows what was pushed.
        with notifying(mine):
            publish(mine, [over(odd)])
            wait_for("its end", lambda: held(url) == {})
            wait_for("its word", lambda: "resolved Odd:resolved" in server.drawn())
    assert sorted(server.drawn()) == [
        "firing Odd:firing", "firing Slow:firing",
        "resolved Odd:resolved", "resolved Slow:resolved",
    ]  # fmt: skip


def test_its_own_silence_holds_and_a_test_alert_arrives(
    server: Hook, settings: Settings, tmp_path: Path
) -> None:
    with alertmanager(server.url, tmp_path) as url:
        mine = with_receivers(settings, tmp_path, {"name": "am", "alertmanager": url})
        now = datetime.now(UTC)
        matcher = {"name": "alertname", "value": "Slow", "isRegex": False, "isEqual": True}
        silence = {
            "matchers": [matcher], "createdBy": "ada", "comment": "known",
            "startsAt": now.isoformat(), "endsAt": (now + timedelta(hours=1)).isoformat(),
        }  # fmt: skip
        asked = Request(
            f"{url}/api/v2/silences", json.dumps(silence).encode(),
            {"Content-Type": "application/json"},
        )  # fmt: skip
        urlopen(asked, timeout=10).close()
        publish(mine, [an_alert_now("Slow")])
        with notifying(mine):
            wait_for("it", lambda: states(url) == {"Slow": "suppressed"})
        send_test(mine, "am")
        wait_for("the other", lambda: server.got)
    assert server.drawn() == ["firing NiloTestNotification:firing"]
