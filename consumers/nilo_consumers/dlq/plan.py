"""What is to be done about the letters of one message: rules, without Kafka or a store."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from nilo_consumers.dlq.standing import STORES, Standing
from nilo_schemas.errors import Reason

PROCESSORS = "processors"
# Who made a letter of the message, and the reason.
Failure = tuple[str, str]
LATE = "it would be late again: `nilo replay repair` counts late events"
AHEAD = "its time still lies too far ahead of now"
IN_STORES = (
    "stores hold it, so it would be there twice: a replay with a larger future_bound counts it"
)
HANDLER = "your code failed on it, and others have it: `nilo dlq show` shows it"
KEEPS_NOTHING = "{} cannot be asked what it holds, and others have the message"
UNCOUNTED = "a store holds it, so it would be there twice: `nilo replay repair` counts it"
BEHIND = "the sink of {} has yet to come to it: let it, then try again"
UNKNOWN = "nobody here knows this reason"


class Act(StrEnum):
    """What is done about a letter."""

    SENT = "sent"  # through its topic again, for all readers
    STORED = "stored"  # into the one store that lacks it
    BEFORE = "done before"
    LEFT = "left"


class Verdict(NamedTuple):
    """What is done about a letter, and why nothing is."""

    act: Act
    why: str = ""


@dataclass(frozen=True)
class Message:
    """What is known of a message that has letters and decodes now.

    Args:
        failures: its letters.
        counted: whether the processors read its topic.
        ahead: whether its time lies further ahead of now than `future_bound`.
        stores: how each store stands to it that has a table of its topic.
    """

    failures: Collection[Failure]
    counted: bool
    ahead: bool
    stores: Mapping[str, Standing]


def verdicts(message: Message) -> dict[Failure, Verdict]:
    """What is done about each letter.

    It goes through its topic only when no reader has used it: the processors and every store that
    has passed it have a letter of it. Else those that lack it get it one by one.
    """
    behind = [name for name, each in message.stores.items() if each is Standing.BEHIND]
    found = {each: _alone(*each, message) for each in message.failures}
    may_go = {
        each for each in message.failures if _unread(each[1]) or _no_longer_ahead(each, message)
    }
    if not may_go or _used(message):
        return found
    verdict = Verdict(Act.LEFT, BEHIND.format(behind[0])) if behind else Verdict(Act.SENT)
    # Who gets it by its topic is not given it once more.
    refused = {each for each in message.failures if each[1] == Reason.REFUSED}
    return found | dict.fromkeys(may_go | refused, verdict)


def _used(message: Message) -> bool:
    """Whether a reader has used the message: it would be there twice if it were sent again."""
    lacking = {
        who for who, reason in message.failures if _unread(reason) or reason == Reason.REFUSED
    }
    not_counted = {
        who for who, reason in message.failures if _unread(reason) or reason == Reason.FUTURE
    }
    if message.counted and PROCESSORS not in not_counted:
        return True
    return any(
        standing is Standing.HAS or (standing is Standing.PASSED and name not in lacking)
        for name, standing in message.stores.items()
    )


def _alone(connector: str, reason: str, message: Message) -> Verdict:
    """What is done about a letter when the message does not go through its topic."""
    if reason == Reason.LATE:
        return Verdict(Act.LEFT, LATE)
    if reason == Reason.FUTURE:
        return Verdict(Act.LEFT, AHEAD if message.ahead else IN_STORES)
    if reason == Reason.FAILED:
        return Verdict(Act.LEFT, HANDLER)
    if not (_unread(reason) or reason == Reason.REFUSED):
        return Verdict(Act.LEFT, UNKNOWN)
    if connector == PROCESSORS:
        return Verdict(Act.LEFT, UNCOUNTED)
    return _into(connector, message)


def _into(store: str, message: Message) -> Verdict:
    if store not in STORES:
        return Verdict(Act.LEFT, KEEPS_NOTHING.format(store or "its reader"))
    match message.stores.get(store):
        case Standing.HAS:
            return Verdict(Act.BEFORE)
        case Standing.PASSED:
            return Verdict(Act.STORED)
    return Verdict(Act.LEFT, BEHIND.format(store))


def _unread(reason: str) -> bool:
    """Whether the message did not decode."""
    used = (Reason.LATE, Reason.FUTURE, Reason.REFUSED, Reason.FAILED)
    return reason in tuple(Reason) and reason not in used


def _no_longer_ahead(failure: Failure, message: Message) -> bool:
    return failure[1] == Reason.FUTURE and not message.ahead
