"""Dead letters of the processors: what could not be used, where it came from, and why."""

from __future__ import annotations

from faust.types import TP

from nilo_schemas.dead_letters import (
    Header,
    dead_letter_headers,
    dead_letter_topic,
    of_redrive,
)
from nilo_schemas.errors import Reason
from nilo_stream_processors.counters import SINK, Counters
from nilo_stream_processors.outbox import Outbox, TooLargeError


class Refusals:
    """Sends messages to the dead letters of their topic, and counts them."""

    def __init__(self, outbox: Outbox, counters: Counters, prefix: str) -> None:
        self._outbox, self._counters, self._prefix = outbox, counters, prefix

    def send(
        self,
        tp: TP,
        offset: int,
        value: bytes | None,
        *,
        stage: str,
        reason: Reason,
        detail: str,
        key: bytes | None = None,
        headers: list[Header] | None = None,
    ) -> None:
        """Send one; it may come twice, as its origin tells it apart: so it needs no lease.

        With its story a message near the broker's limit is over it: it then stays at its origin.

        Args:
            tp: where it was read, and at which `offset`.
            stage: what was being done, in Kafka Connect's words.
        """
        topic = dead_letter_topic(tp.topic, self._prefix)

        def story(detail: str, headers: list[Header] | None) -> list[Header]:
            return dead_letter_headers(
                headers,
                topic=tp.topic,
                partition=tp.partition,
                offset=offset,
                connector=SINK,
                stage=stage,
                reason=reason,
                detail=detail,
            )

        try:
            self._outbox.send(topic, key, value, headers=story(detail, headers), fenced=False)
        except TooLargeError:
            note = f"{detail} (too large to be copied: it is at its origin only)"
            told = story(note, of_redrive(headers))
            self._outbox.send(topic, None, None, headers=told, fenced=False)
        self._counters.dead_letter(tp.topic.removeprefix(self._prefix), reason)
