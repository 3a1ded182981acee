"""What is done about the letters of one message, by who has used it."""

from __future__ import annotations

import pytest

from nilo_consumers.dlq.history import History, begun, ended, sent, stored
from nilo_consumers.dlq.plan import Act, Failure, Message, verdicts
from nilo_consumers.dlq.standing import Standing
from nilo_schemas.dead_letters import (
    Origin,
    dead_letter_headers,
    redriven_headers,
    story_of,
    without_story,
)
from nilo_schemas.errors import Reason

HAS, PASSED, BEHIND = Standing
READ_BY_NOBODY = [(who, "unknown_schema") for who in ("processors", "postgres", "parquet")]
ALL_PASSED = {"postgres": PASSED, "parquet": PASSED}


def acts(
    failures: list[Failure],
    stores: dict[str, Standing],
    *,
    counted: bool = True,
    ahead: bool = False,
) -> dict[str, str]:
    """By reader, what is done."""
    found = verdicts(Message(failures, counted, ahead, stores))
    assert all(bool(each.why) == (each.act is Act.LEFT) for each in found.values())
    return {who: str(each.act) for (who, _), each in found.items()}


def test_what_nobody_could_read_goes_through_its_topic() -> None:
    assert set(acts(READ_BY_NOBODY, ALL_PASSED).values()) == {"sent"}
    assert set(acts(READ_BY_NOBODY, {}).values()) == {"sent"}
    assert acts(READ_BY_NOBODY[1:], ALL_PASSED, counted=False) == {
        "postgres": "sent", "parquet": "sent",
    }  # fmt: skip


def test_what_the_processors_have_counted_goes_to_the_stores_that_lack_it() -> None:
    assert acts(READ_BY_NOBODY[1:], ALL_PASSED) == {"postgres": "stored", "parquet": "stored"}


@pytest.mark.parametrize("other", [HAS, PASSED])
def test_what_one_store_has_used_goes_to_the_other_alone(other: Standing) -> None:
    """PASSED without a letter: its row was erased, or went with its day."""
    stores = {"postgres": PASSED, "parquet": other}
    assert acts(READ_BY_NOBODY[:2], stores) == {"processors": "left", "postgres": "stored"}


def test_what_a_store_has_yet_to_come_to_waits() -> None:
    assert set(acts(READ_BY_NOBODY[:2], {"postgres": PASSED, "sqlite": BEHIND}).values()) == {
        "left"
    }
    assert acts([("postgres", "refused")], {"postgres": BEHIND}) == {"postgres": "left"}


def test_what_a_store_refused_is_given_to_it_alone_and_once() -> None:
    refused = [("postgres", "refused")]
    assert acts(refused, {"postgres": PASSED, "parquet": HAS}) == {"postgres": "stored"}
    assert acts(refused, {"postgres": HAS, "parquet": HAS}) == {"postgres": "done before"}
    # It read what nobody else could: by the topic it is given it as well.
    both = [("processors", "corrupt"), ("parquet", "corrupt"), ("postgres", "refused")]
    assert set(acts(both, ALL_PASSED).values()) == {"sent"}


def test_what_would_fail_again_or_come_twice_is_left() -> None:
    stores = {"postgres": HAS}
    assert acts([("processors", "late")], stores) == {"processors": "left"}
    assert acts([("processors", "future")], stores) == {"processors": "left"}
    assert acts([("processors", "future")], {}, ahead=True) == {"processors": "left"}
    assert acts([("processors", "future")], {}) == {"processors": "sent"}
    assert acts([("pager", "failed")], stores, counted=False) == {"pager": "left"}
    assert acts([("influx", "refused")], stores, counted=False) == {"influx": "left"}
    assert acts([("postgres", "of another version")], {"postgres": PASSED}) == {"postgres": "left"}


def test_the_first_to_announce_a_message_may_send_it_unless_it_is_over() -> None:
    origin, history = Origin("events.llm", 1, 7), History()
    entries = [begun(origin, "a", 10), begun(origin, "b", 12)]
    for place, (key, value) in enumerate(entries):
        history.take(place, key, value)
    assert [history.is_first(origin, run, []) for run in ("a", "b", "c")] == [True, False, False]
    assert history.is_first(origin, "b", ["a"])
    assert history.open() == {origin: history.begun[origin]}

    for key, value in (sent(origin, 13), ended(origin, "a"), stored(Origin("t", 0, 1), "sqlite")):
        history.take(2, key, value)
    assert not history.is_first(origin, "b", ["a"])
    assert not history.open()
    assert history.done(origin, "postgres")
    assert history.done(Origin("t", 0, 1), "sqlite")
    assert not history.done(Origin("t", 0, 1), "postgres")


def test_a_redriven_message_has_its_own_headers_and_tells_where_it_was() -> None:
    """Also after several tries, and when it had headers of the same names itself."""
    own = [("traceparent", b"00-ab"), ("__connect.errors.topic", b"of others"), ("none", None)]
    headers = own
    for attempt in (1, 2, 3):
        letter = dead_letter_headers(
            headers, topic="p.events.llm", partition=2, offset=40 + attempt,
            connector="postgres", stage="VALUE_CONVERTER", reason=Reason.CORRUPT, detail="bad",
        )  # fmt: skip
        story = story_of(letter)
        assert story is not None
        assert story.origin == Origin("p.events.llm", 2, 40 + attempt)
        assert (story.attempt, story.reason, story.detail) == (attempt, "corrupt", "bad")
        headers = redriven_headers(without_story(letter), story)
        assert headers == [
            *own,
            ("x-nilo-redriven-from", f"p.events.llm:2:{40 + attempt}".encode()),
            ("x-nilo-attempt", str(attempt + 1).encode()),
        ]
    assert story_of(headers) is None
