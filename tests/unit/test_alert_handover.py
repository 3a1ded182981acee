"""What is handed over between the thread that reads alerts and the one that handles them."""

from __future__ import annotations

import pytest

from nilo_consumers.alerts.handover import Handover
from tests.alerts import an_alert

ALERT, OTHER = an_alert(), an_alert(revision=3)


def test_an_offer_meets_the_question_whichever_comes_first() -> None:
    hand = Handover()
    done = hand.offer(ALERT)
    offer = hand.ask().result(0)
    assert offer is not None
    assert offer.alert == ALERT
    assert not done.done()
    hand.done(offer, None)
    assert done.result(0) is None
    asked = hand.ask()
    assert not asked.done()
    hand.offer(OTHER)
    answer = asked.result(0)
    assert answer is not None
    assert answer.alert == OTHER


def test_what_came_of_an_alert_reaches_the_reader() -> None:
    hand = Handover()
    done = hand.offer(ALERT)
    offer = hand.ask().result(0)
    assert offer is not None
    hand.done(offer, "no such number")
    assert done.result(0) == "no such number"


def test_an_offer_of_which_nobody_said_that_it_is_done_is_made_again() -> None:
    """A cancelled await has been given it, or not: it was not handled."""
    hand = Handover()
    hand.ask().cancel()
    done = hand.offer(ALERT)
    assert [hand.ask().result(0), hand.ask().result(0)] == [hand.ask().result(0)] * 2
    assert not done.done()


def test_nobody_waits_for_what_was_withdrawn() -> None:
    hand = Handover()
    hand.offer(ALERT)
    old = hand.ask().result(0)
    assert old is not None
    hand.withdraw()
    new = hand.offer(OTHER)
    hand.done(old, "late")
    assert not new.done()


def test_the_end_ends_both_sides() -> None:
    hand = Handover()
    done, asked = hand.offer(ALERT), hand.ask()
    assert asked.result(0) is not None
    hand.end()
    assert done.cancelled()
    assert hand.offer(OTHER).cancelled()
    assert hand.ask().result(0) is None


def test_an_error_of_the_reader_is_raised_by_whoever_asks() -> None:
    hand = Handover()
    asked = hand.ask()
    hand.end(ValueError("refused"))
    with pytest.raises(ValueError, match="refused"):
        asked.result(0)
    with pytest.raises(ValueError, match="refused"):
        hand.ask().result(0)
