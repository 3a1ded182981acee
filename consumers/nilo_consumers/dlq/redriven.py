"""Which messages were sent again, for those who read their topics from before.

A reader that comes to the origin of such a message after the fix can read it there as well: it
would have the event twice.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import closing

from nilo_consumers.decoding import TopicPart
from nilo_consumers.dlq.journal import Journal
from nilo_schemas.errors import ContractError
from nilo_schemas.settings import Settings

Redriven = Mapping[TopicPart, Sequence[int]]


def redriven(settings: Settings) -> Redriven:
    """By topic (in full) and partition, the offsets of messages that have another one by now.

    Raises:
        UnreachableError: the brokers do not answer.
    """
    found: dict[TopicPart, list[int]] = defaultdict(list)
    with closing(Journal(settings)) as journal:
        try:
            sent = journal.read().sent
        except ContractError:  # made before there were redrives
            return {}
    for topic, partition, offset in sent:
        found[topic, partition].append(offset)
    return dict(found)
