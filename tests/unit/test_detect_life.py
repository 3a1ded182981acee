"""The life of an alert, drawn: what each window says above, what the alert is after it below.

Windows: # meets the condition, . does not, ~ lies between it and its `clear`, _ is absent.
States: - inactive, p pending, F firing, N without data, r resolved.
"""

from __future__ import annotations

import pytest

from nilo_schemas.alerts import AlertState
from nilo_stream_processors.engine.detect.life import (
    FLAP_QUIET,
    FLAP_SPAN,
    VANISHED,
    Change,
    Life,
    Timing,
    Verdict,
)

MINUTE = 60_000_000
VERDICTS = {
    "#": Verdict.BREACH,
    ".": Verdict.CLEAR,
    "~": Verdict.BETWEEN,
    "_": Verdict.ABSENT,
}
STATES = {
    AlertState.INACTIVE: "-",
    AlertState.PENDING: "p",
    AlertState.FIRING: "F",
    AlertState.NO_DATA: "N",
    AlertState.RESOLVED: "r",
}


def lived(
    windows: str, needed: int = 1, kept: int = 1, *, begin: int = 0, life: Life | None = None
) -> tuple[str, list[Change]]:
    """The state after each window, and all changes."""
    life, timing = life or Life(), Timing(needed, kept, MINUTE)
    states, changes = "", []
    for number, window in enumerate(windows, begin):
        change = life.observe(VERDICTS[window], number * MINUTE, (number + 1) * MINUTE, timing)
        states += STATES[life.state]
        changes += [change] if change else []
    return states, changes


@pytest.mark.parametrize(
    ("windows", "needed", "kept", "states"),
    [
        # at once, and over at once
        ("..#..", 1, 1, "--Frr"),
        # `for: 3 windows`: a miss begins anew, and so does a window between
        (".##.###..", 3, 1, "-pp-ppFrr"),
        ("##~###", 3, 1, "pp-ppF"),
        # hysteresis: what lies between neither fires nor ends it
        ("~#~~.~", 1, 1, "-FFFrr"),
        # `keep_firing_for: 3 windows`: so many in a row
        ("#..#...", 1, 3, "FFFFFFr"),
        # a pending one without data is no longer pending
        ("##_#", 3, 1, "pp-p"),
        # a firing one without data for three windows is without data, and says what it was
        ("#__#", 1, 1, "FFFF"),
        ("#___..", 1, 1, "FFFNrr"),
        ("#___#.", 1, 1, "FFFNFr"),
        ("#___~.", 1, 1, "FFFNFr"),
        # a resolved one begins anew
        ("#.##", 2, 1, "p-pF"),
        ("#.#", 1, 1, "FrF"),
    ],
)
def test_timelines(windows: str, needed: int, kept: int, states: str) -> None:
    assert lived(windows, needed, kept)[0] == states


def test_a_flap_storm_is_one_alert_that_is_held_until_it_is_quiet() -> None:
    storm = "#." * 20
    calm = "." * (FLAP_QUIET + 1)

    states, changes = lived(storm + calm)

    # Twice it comes and goes; the third time it stays.
    assert states == "FrFr" + "F" * (len(storm) - 4 + FLAP_QUIET - 2) + "rrr"
    assert len(changes) == 6
    assert "flaps" in changes[4].reason


def test_what_comes_and_goes_seldom_does_not_flap() -> None:
    states, _ = lived(("#." + "." * FLAP_SPAN) * 4)
    assert states.count("F") == 4


def test_a_series_that_is_gone_for_a_day_is_gone_for_good() -> None:
    day = VANISHED // MINUTE

    states, changes = lived("#" + "_" * (day + 5))

    assert states == "FFF" + "N" * (day - 3) + "r" * 6
    assert [change.state for change in changes] == ["firing", "no_data", "resolved"]
    assert "gone" in changes[-1].reason


@pytest.mark.parametrize("windows", ["##.#", "#___#..", "#.#.#.#......", "~#~.##"])
@pytest.mark.parametrize("stop", range(7))
def test_a_restart_in_any_state_changes_nothing(windows: str, stop: int) -> None:
    whole, _ = lived(windows, 2)

    first = Life()
    before, _ = lived(windows[:stop], 2, life=first)
    again = Life.from_json(first.to_json())
    after, _ = lived(windows[stop:], 2, begin=stop, life=again)

    assert before + after == whole


def test_revisions_count_within_an_episode_and_each_reason_says_why() -> None:
    life = Life()
    found = []
    for number, window in enumerate("##.##"):
        change = life.observe(
            VERDICTS[window], number * MINUTE, (number + 1) * MINUTE, Timing(2, 1, MINUTE)
        )
        found.append((life.starts_at // MINUTE, life.revision, change.reason if change else ""))

    assert found == [
        (0, 1, "1 of 2 windows"),
        (0, 2, "2 of 2 windows"),
        (0, 3, "1 window without it"),
        (3, 1, "1 of 2 windows"),
        (3, 2, "2 of 2 windows"),
    ]
