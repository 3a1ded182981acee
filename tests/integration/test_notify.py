"""The notifier between real Kafka and a local HTTP server as the receiver."""

from __future__ import annotations

from pathlib import Path

import pytest

from nilo_schemas.alerts import AlertState
from nilo_schemas.settings import Settings
from tests.alerts import publish
from tests.integration.hook import hook
from tests.integration.notifying import AT_ONCE, an_alert_now, notified, notifying, with_receivers
from tests.integration.programs import wait_for
from tests.integration.sinking import get

pytestmark = [
    pytest.mark.integration,
    pytest.mark.topics("alerts", "alerts.state", "alerts.silences", "alerts.notified"),
]


def test_an_alert_is_told_once_and_not_again_after_a_restart(
    settings: Settings, tmp_path: Path
) -> None:
    with hook() as server:
        mine = with_receivers(settings, tmp_path, {"name": "r", "webhook": server.url, **AT_ONCE})
        publish(settings, [an_alert_now(), an_alert_now("Other", state=AlertState.PENDING)])
        for other in ("Second", "Third"):
            with notifying(mine) as running:
                publish(settings, [an_alert_now(other)])
                wait_for(other, lambda: running.ended("sent") >= 1)
                wait_for(other, lambda: f"firing {other}:firing" in server.drawn())  # noqa: B023  called here
                assert get(f"{running.url}/health")[0] == 200
        assert sorted(server.drawn()) == [
            "firing Second:firing", "firing Slow:firing", "firing Third:firing",
        ]  # fmt: skip
    assert {note.phase for note in notified(settings).values()} == {"sent"}
