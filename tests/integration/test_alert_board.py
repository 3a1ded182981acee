"""The board of alerts before real topics."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from nilo_consumers.alerts.board import Board
from nilo_schemas.alerts import STATE_TOPIC, AlertState, Matcher, Silence
from nilo_schemas.errors import ContractError, UnreachableError
from nilo_schemas.settings import Settings
from tests.alerts import BEGUN, an_alert, forget, publish, say
from tests.integration.sinking import produce

pytestmark = [
    pytest.mark.integration,
    pytest.mark.topics("alerts", "alerts.state", "alerts.silences"),
]
LATER = BEGUN + timedelta(minutes=5)


@pytest.fixture
def board(settings: Settings) -> Iterator[Board]:
    board = Board(settings)
    yield board
    board.close()


def silence(**fields: object) -> Silence:
    given = {"starts_at": BEGUN, "created_by": "eve"} | fields
    return Silence.model_validate(given)


def test_the_newest_transition_of_each_alert_counts(settings: Settings, board: Board) -> None:
    pending = an_alert(state=AlertState.PENDING, previous=AlertState.INACTIVE, revision=1)
    firing, other = an_alert(), an_alert(labels={"model": "nova"})
    publish(settings, [pending, firing, other])
    board.refresh()
    assert board.alerts == {firing.fingerprint: firing, other.fingerprint: other}
    resolved = an_alert(state=AlertState.RESOLVED, previous=AlertState.FIRING, revision=3)
    publish(settings, [resolved])
    board.refresh()
    assert board.alerts[firing.fingerprint] == resolved
    assert board.active() == [other]


def test_a_tombstone_forgets_an_alert_and_a_silence(settings: Settings, board: Board) -> None:
    alert = an_alert()
    muted = silence(fingerprint=alert.fingerprint, episode=alert.starts_at)
    publish(settings, [alert])
    say(settings, muted)
    board.refresh()
    assert board.suppression(alert, LATER).acknowledged_by == "eve"
    forget(settings, Silence.kafka_topic, muted.id)
    forget(settings, STATE_TOPIC, alert.fingerprint)
    board.refresh()
    assert (board.alerts, board.silences) == ({}, {})
    assert not board.suppression(alert, LATER).quiet


def test_silences_and_the_active_alerts_suppress(settings: Settings, board: Board) -> None:
    cause = an_alert(rule="ProviderDown", hides=["LlmSlow"], equal=["model"])
    slow = an_alert()
    muted = silence(matchers=[Matcher(name="model", value="at.*", is_regex=True)])
    publish(settings, [cause, slow])
    say(settings, muted)
    board.refresh()
    found = board.suppression(slow, LATER)
    assert (found.silenced_by, found.inhibited_by) == ((muted.id,), (cause.fingerprint,))


def test_what_does_not_decode_is_counted_and_what_was_known_is_kept(
    settings: Settings, board: Board, caplog: pytest.LogCaptureFixture
) -> None:
    alert = an_alert()
    publish(settings, [alert])
    produce(settings, STATE_TOPIC, [b"\x00no avro", b"none"], key=alert.fingerprint)
    produce(settings, Silence.kafka_topic, [b""], key="quiet")
    broken = Matcher.model_construct(name="model", value="*", is_regex=True, is_equal=True)
    say(settings, silence().model_copy(update={"matchers": [broken]}))
    board.refresh()
    assert (board.alerts, board.silences) == ({alert.fingerprint: alert}, {})
    assert board.undecoded == 4
    assert len(caplog.records) == 1


def test_a_board_without_its_topics_says_how_they_are_made(own: Settings) -> None:
    board = Board(own)
    with pytest.raises(ContractError, match="nilo topics create"):
        board.refresh()
    board.close()


def test_a_board_without_brokers_says_so(settings: Settings) -> None:
    board = Board(settings.model_copy(update={"kafka_bootstrap_servers": "127.0.0.1:1"}))
    with pytest.raises(UnreachableError, match="nilo status"):
        board.refresh(timeout=1)
    board.close()
