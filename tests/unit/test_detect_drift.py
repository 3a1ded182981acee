"""Rules on the mix of labels: what counts as a change, and what does not."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pytest

from nilo_schemas.alerts import Alert, AlertState
from nilo_stream_processors.engine.detect.detection import Detection
from nilo_stream_processors.engine.detect.mixes import most_unlike
from tests.windows_of import CALLS, MINUTE, START, batch, catalogue, microseconds, window

NAMES = ("yes", "no", "perhaps", "refused")
USUAL = (0.5, 0.3, 0.15, 0.05)
# One label has thrice its share.
CHANGED = (0.4, 0.3, 0.15, 0.15)
Counts = Sequence[int]


def drawn(shares: Sequence[float], windows: int, *, many: int = 200, seed: int = 1) -> list[Counts]:
    """Counts by label in so many windows."""
    rows = np.random.default_rng(seed).multinomial(many, shares, windows)
    return [list(map(int, row)) for row in rows]


def alerts_of(mixes: Iterable[Counts], **rule: Any) -> list[Alert]:
    """The transitions that windows of a minute with these counts make."""
    metric = {**CALLS, "dimensions": ["node", "label"], "aggregates": ["count"], "value": None}
    metric |= {"unit": "", "error_when": {}, "dimensions": ["provider", "model"]}
    detection = Detection(catalogue({"drift": "model", **rule}, metrics={"calls": metric}), 100)
    found: list[Alert] = []
    for number, counts in enumerate(mixes):
        windows = [
            window(number, {"provider": "p", "model": name}, count=count, unit="")
            for name, count in zip(NAMES, counts, strict=True)
            if count
        ]
        detection.add("calls", "1m", batch(windows))
        end = microseconds(START + (number + 1) * MINUTE)
        found += detection.advance("events.llm", end)
    return found


def fired(alerts: list[Alert]) -> list[int]:
    """The numbers of the windows in which an alert began to fire."""
    begun = [each for each in alerts if each.state is AlertState.FIRING]
    return [(each.time - START) // MINUTE - 1 for each in begun]


def test_a_mix_that_stays_as_it_is_raises_no_alert() -> None:
    assert fired(alerts_of(drawn(USUAL, 700))) == []


def test_a_share_that_grows_is_found_within_three_windows_and_named() -> None:
    alerts = alerts_of([*drawn(USUAL, 300), *drawn(CHANGED, 10, seed=2)])

    (number,) = fired(alerts)
    assert 300 <= number < 303
    assert "refused" in alerts[0].reason
    assert alerts[0].labels == {"provider": "p"}


def test_labels_that_come_in_bursts_need_a_larger_change() -> None:
    # Each call counts five times: as much chance as in a fifth of the events.
    bursts = [[5 * each for each in counts] for counts in drawn(USUAL, 700, many=40)]

    assert fired(alerts_of(bursts)) == []


def test_an_unusual_mix_becomes_the_usual_one_and_the_alert_ends() -> None:
    alerts = alerts_of([*drawn(USUAL, 300), *drawn(CHANGED, 300, seed=2)])

    assert len(fired(alerts)) == 1
    assert alerts[-1].state is AlertState.RESOLVED


def test_a_golden_mix_is_held_against_from_the_first_windows_on() -> None:
    golden = dict(zip(NAMES, USUAL, strict=True))

    assert fired(alerts_of(drawn(USUAL, 300), against=golden)) == []
    assert fired(alerts_of(drawn(CHANGED, 10), against=golden))[0] < 3


@pytest.mark.parametrize("many", [2, 5, 40])
def test_the_score_of_the_same_mix_goes_beyond_its_bound_as_rarely_whatever_the_labels(
    many: int,
) -> None:
    rows = np.random.default_rng(3).multinomial(500, np.full(many, 1 / many), 4000)
    usual = {str(label): 10_000.0 for label in range(many)}
    mixes = [{str(label): float(count) for label, count in enumerate(row)} for row in rows]

    scores = np.array([most_unlike([mix], usual)[1].score for mix in mixes])

    # Of a standard normal variable 0.6 % are beyond 2.5 on one side, 1.2 % on both.
    assert (scores > 2.5).mean() < 0.02
    assert (scores > 4.0).mean() < 0.001


def test_the_mix_that_is_most_unlike_is_told_with_how_large_the_change_is() -> None:
    usual = {"a": 900.0, "b": 100.0}

    mix, found = most_unlike([{"a": 90.0, "b": 10.0}, {"a": 50.0, "b": 50.0}], usual)

    assert mix == {"a": 50.0, "b": 50.0}
    assert found.score > 8
    assert found.effect > 0.3
    assert most_unlike([{"a": 90.0, "b": 10.0}], usual)[1].score == pytest.approx(0, abs=1e-6)
    assert most_unlike([{"a": 5.0}], {"a": 9.0})[1] == (0, 0)
