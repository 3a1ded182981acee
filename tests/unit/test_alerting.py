"""What a generation of alerts keeps until it is published; nothing is sent, so no broker."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from nilo_schemas.settings import Settings, load_settings
from nilo_stream_processors.alerting import Alerting, Outgoing
from nilo_stream_processors.blobs import unpacked
from nilo_stream_processors.counters import Counters
from tests.alerts import an_alert
from tests.windows_of import START, batch, catalogue, microseconds, window

SLOW = {"when": "mean > 2", "for": "2m"}
PARTITION = 3


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(
        {
            "home": tmp_path,
            "kafka_bootstrap_servers": "127.0.0.1:1",
            "schema_registry_url": "http://127.0.0.1:1",
        },
        env={},
    )


def alerting(settings: Settings) -> Alerting:
    nothing: Any = None
    return Alerting(settings, catalogue(SLOW), nothing, outbox=nothing, counters=Counters())


def look(rules: Alerting, number: int) -> None:
    """Let a slow minute close."""
    rows: Any = SimpleNamespace(late=False, final=np.array([True]), name="calls", window="1m")
    end = microseconds(START + (number + 1) * timedelta(minutes=1))
    rules.look(PARTITION, [(rows, batch([window(number, mean=3.0)]))], {"events.llm": end})


def kept(rules: Alerting) -> list[str]:
    """The states that are to be published, in order, as the stored state has them."""
    outgoing = Outgoing()
    for part in rules.stored(PARTITION, all_of_it=True):
        for name, each in unpacked(part):
            if name == "outgoing":
                outgoing.restore(each)
    return [alert.state.value for alert in outgoing.alerts()]


def test_what_a_dead_worker_has_not_published_is_kept_beside_what_comes_next(
    settings: Settings,
) -> None:
    dead, heir = alerting(settings), alerting(settings)
    look(dead, 0)
    stored = [(part, True) for part in dead.stored(PARTITION, all_of_it=True)]
    heir.restore(PARTITION, dead.header(PARTITION), stored)
    look(heir, 1)

    assert kept(dead) == ["pending"]
    assert kept(heir) == ["pending", "firing"]


def test_transitions_and_fingerprints_forgotten_keep_their_order() -> None:
    first, second = an_alert(revision=1), an_alert(revision=2)
    outgoing, again = Outgoing([first, "gone", second]), Outgoing()
    for _, part in outgoing.stored():
        again.restore(part)

    again.replace([each.model_copy(update={"samples": ["id"]}) for each in again.alerts()])

    assert [each if isinstance(each, str) else each.revision for each in again.said] == [
        1,
        "gone",
        2,
    ]
    assert [each.samples for each in again.alerts()] == [["id"], ["id"]]
