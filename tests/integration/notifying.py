"""Runs notifiers, in a thread or as a process, and writes the file of their receivers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from prometheus_client.parser import text_string_to_metric_families

from nilo_consumers.alerts.notify.ledger import read_notified
from nilo_consumers.alerts.notify.run import run_notify
from nilo_schemas.alerts import Alert
from nilo_schemas.notified import Notified
from nilo_schemas.registry import Registry
from nilo_schemas.settings import Settings
from tests.alerts import an_alert
from tests.integration.in_thread import InThread, working
from tests.integration.sinking import get

# Nothing is waited for, and nothing is told twice in a test.
AT_ONCE = {"group_wait": "0s", "group_interval": "1h"}


def with_receivers(settings: Settings, folder: Path, *receivers: dict[str, Any]) -> Settings:
    """Settings with a file of these receivers."""
    path = folder / "receivers.yaml"
    path.write_text(yaml.safe_dump({"receivers": list(receivers)}))
    return settings.model_copy(update={"notify_file": path})


def an_alert_now(rule: str = "Slow", **fields: Any) -> Alert:
    """An alert of the present, for those who compare its times with their clock."""
    now = datetime.now(UTC)
    return an_alert(rule=rule, **({"starts_at": now, "time": now} | fields))


def notified(settings: Settings) -> dict[str, Notified]:
    """What the topic says."""
    return read_notified(settings, Registry(settings))


class Running(InThread):
    """A notifier that runs in a thread."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(partial(run_notify, settings, metrics_port=0))

    def page(self) -> str:
        return get(f"{self.url}/metrics")[1]

    def value(self, name: str, **labels: str) -> float:
        """The sum of a metric over the samples that have these labels."""
        return sum(
            sample.value
            for family in text_string_to_metric_families(self.page())
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    def ended(self, outcome: str) -> float:
        return self.value("nilo_notifications_total", outcome=outcome)


@contextmanager
def notifying(settings: Settings) -> Iterator[Running]:
    """Run a notifier while the block runs; its error is raised at the end."""
    with working(Running(settings), "the notifier") as running:
        yield running
