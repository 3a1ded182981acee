"""The push gateway sink against the real push gateway of Debian."""

from __future__ import annotations

import socket

import pytest
from prometheus_client.parser import text_string_to_metric_families

from nilo_consumers.batch import Policy
from nilo_consumers.pushgateway import PushgatewaySink
from nilo_schemas.settings import Settings
from tests.integration.gateway import gateway
from tests.integration.programs import free_port, wait_for
from tests.integration.sinking import get, send, sinking
from tests.integration.test_prometheus import window

pytestmark = [pytest.mark.integration, pytest.mark.topics("metrics.windows")]


def pushed(url: str, name: str) -> dict[frozenset[tuple[str, str]], float]:
    return {
        frozenset(sample.labels.items()): sample.value
        for family in text_string_to_metric_families(get(f"{url}/metrics")[1])
        for sample in family.samples
        if sample.name == name
    }


def test_the_newest_windows_are_in_the_gateway_and_stay_there_after_a_clean_stop(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PushgatewaySink, "policy", Policy(10_000, 0.2))
    # A dimension that has the name of the group's label must not take its place.
    odd = window(dimensions={"instance": "i-1", "job": "j"}, count=7)
    with gateway(free_port()) as url:
        mine = settings.model_copy(update={"pushgateway_url": url})
        send(settings, [window(), window(revision=1, count=12), odd], partition=0)
        with sinking("pushgateway", mine):
            wait_for("push", lambda: pushed(url, "nilo_llm_duration_events_total"))

        group = {("job", f"{settings.topic_prefix}nilo"), ("instance", socket.gethostname())}
        counted = pushed(url, "nilo_llm_duration_events_total")
        assert counted == {
            frozenset({*group, *window().dimensions.items()}): 12,
            frozenset({*group, ("dim_instance", "i-1"), ("dim_job", "j")}): 7,
        }
