"""`nilo bench` on the real stack, small: it measures, and what comes out of it is right.

Whether goals are reached says nothing here: a few thousand events on a machine that runs tests.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from nilo_schemas.settings import Settings

pytestmark = pytest.mark.integration
EVENTS = 10_000


def bench(stack: Settings, *words: str) -> tuple[dict[str, float], dict[str, float]]:
    """Figures and ratios of a benchmark; its report has the form of all and fits its exit code."""
    done = subprocess.run(
        [sys.executable, "-m", "nilo_cli", "bench", *words, "--quick", "--json"],
        env=os.environ
        | {
            "KAFKA_BOOTSTRAP_SERVERS": stack.brokers(),
            "SCHEMA_REGISTRY_URL": stack.registry_url(),
            "DATABASE_URL": stack.database(),
        },
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode in (0, 1), done.stderr
    report = json.loads(done.stdout)
    assert set(report) == {"bench", "ratios", "figures", "versions"}
    assert {frozenset(each) for each in report["ratios"]} == {
        frozenset(("name", "value", "goal", "holds"))
    }
    assert done.returncode == (0 if all(each["holds"] for each in report["ratios"]) else 1)
    return report["figures"], {each["name"]: each["value"] for each in report["ratios"]}


def test_the_sinks_are_measured_and_store_all_that_was_sent(stack: Settings) -> None:
    figures, values = bench(stack, "sinks", "--events", str(EVENTS), "--without-quix")

    # Four ways to store the main topic, and both sinks with five times as many events.
    assert figures["rows_compared"] == (4 + 2 * 5) * EVENTS
    assert values["rows and sums that differ (at most)"] == 0
    assert min(value for name, value in figures.items() if name.endswith("_per_s")) > 0


def test_the_engine_is_measured_and_its_windows_are_right(stack: Settings) -> None:
    figures, values = bench(stack, "engine", "--events", str(EVENTS))

    assert figures["events"] == EVENTS
    assert figures["events_memory"] > 4 * EVENTS
    # Two minutes of 100 series: 1 + 3 + 8 metrics (two more count what is rare) and stock Faust's
    # table; ten minutes of 100 series; twice one minute of 500 series.
    assert figures["windows_compared"] > 200 * (12 + 1) + 1000 + 2 * 500
    assert values["windows that differ (at most)"] == 0
    # So few events may all be read before the first look: then a rate says nothing.
    assert min(value for name, value in figures.items() if name.endswith("_s")) >= 0


def test_replays_are_measured_and_their_windows_are_right(stack: Settings) -> None:
    figures, values = bench(stack, "replay", "--events", str(EVENTS))

    # Two minutes of 100 series: of one metric live, from Kafka (by one process and by two), the
    # lake and the archive; of ten live and from Kafka. Then ten minutes of 100 series.
    assert figures["windows_compared"] > 200 * (5 + 2) + 1000
    assert values["windows that differ (at most)"] == 0
    assert min(value for name, value in figures.items() if name.endswith("_s")) >= 0
