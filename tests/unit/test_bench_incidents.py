"""Injected incidents through the whole engine: what alerts point at, and how batches are cut."""

from __future__ import annotations

import pytest

from tests.bench.incidents.__main__ import AN_HOUR, Run
from tests.bench.incidents.scene import Sizes

SMALL = Sizes(models=8, nodes=3, days=4, warm_up=2, incidents=40, calls=40, labels=60)


def nothing(_line: str) -> None:
    """Nobody reads the progress."""


@pytest.fixture(scope="module")
def run() -> Run:
    return Run(SMALL, nothing)


def test_the_evidence_of_each_true_alert_holds_an_altered_event(run: Run) -> None:
    score = run.score()

    assert len(run.incidents) == 40
    assert len(score.shown) > 10
    assert all(score.shown)


def test_the_same_events_in_other_batches_give_the_same_alerts_to_the_byte(run: Run) -> None:
    other = Run(SMALL, nothing, piece=5 * AN_HOUR // 2)

    assert len(run.alerts) > 20
    mine, others = ([each.model_dump_json() for each in one.alerts] for one in (run, other))
    assert mine == others
