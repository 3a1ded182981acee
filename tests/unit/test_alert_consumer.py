"""What an alert consumer refuses, and what its conditions let through."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from nilo_consumers import AlertConsumer
from nilo_consumers.alerts.wanted import wanted
from nilo_schemas.alerts import AlertState
from nilo_schemas.errors import SettingsError
from nilo_schemas.settings import load_settings
from tests.alerts import an_alert

SETTINGS = load_settings(
    {"kafka_bootstrap_servers": "127.0.0.1:1", "schema_registry_url": "http://127.0.0.1:1"}, env={}
)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"severity": "grave"}, "'grave' matches no alert; known: info, warning, critical"),
        ({"state": "silenced"}, "state: 'silenced' matches no alert; known: inactive, pending"),
        ({"severity": []}, "severity: an empty collection"),
        ({"start": "now"}, "'now' is neither 'new' nor 'beginning'"),
        ({"start": datetime(2025, 6, 1)}, "has no time zone"),
        ({"group": ""}, "group: "),
    ],
)
def test_what_cannot_be_is_refused(given: dict[str, Any], told: str) -> None:
    usual: dict[str, Any] = {"group": "pager", "settings": SETTINGS}
    with pytest.raises(ValueError, match=told):
        AlertConsumer(**usual | given)


def test_without_a_broker_to_ask_there_is_no_consumer(tmp_path: Any) -> None:
    with pytest.raises(SettingsError):
        AlertConsumer("pager", settings=load_settings({"home": tmp_path}, env={}))


def test_run_without_a_callback_or_an_attempt_is_refused() -> None:
    consumer = AlertConsumer("pager", settings=SETTINGS)
    with pytest.raises(ValueError, match="needs a callback"):
        consumer.run()
    consumer.on()(print)
    with pytest.raises(ValueError, match="an attempt or more"):
        consumer.run(attempts=0)
    consumer.close()


@pytest.mark.parametrize(
    ("given", "fits"),
    [
        ({}, True),
        ({"severity": "critical"}, True),
        ({"severity": {"info", "warning"}}, False),
        ({"rule": ["LlmSlow", "LlmCost"]}, True),
        ({"rule": "Llm"}, False),
        ({"state": AlertState.FIRING}, True),
        ({"state": "pending"}, False),
        ({"labels": {"model": "atlas"}}, True),
        ({"labels": {"model": "nova"}}, False),
        ({"labels": {"region": "eu"}}, False),
    ],
)
def test_all_conditions_must_hold(given: dict[str, Any], fits: bool) -> None:
    assert wanted(**given)(an_alert(labels={"model": "atlas", "team": "a"})) is fits
