"""The lease of the outbox: without a broker, as nothing may leave at all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from nilo_schemas.settings import Settings, load_settings
from nilo_stream_processors.outbox import LOOK_EVERY, LostError, Outbox


class Clock:
    """A clock that is set by hand."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings({"home": tmp_path, "kafka_bootstrap_servers": "127.0.0.1:1"}, env={})


def test_state_and_results_leave_only_while_the_lease_holds(settings: Settings) -> None:
    clock = Clock()
    outbox = Outbox(settings, lambda: 107.0, clock=clock)
    outbox.send("t", b"k", b"v")
    clock.now = 107.0

    for _ in range(100):
        with pytest.raises(LostError, match="heartbeat"):
            outbox.send("t", b"k", b"v")
    with pytest.raises(LostError, match="heartbeat"):
        outbox.send_all("t", [(b"k", b"v")] * 100)

    # librdkafka counts what it has to tell of its connection as well.
    assert 1 <= outbox.waiting() < 50


def test_a_long_write_looks_at_the_clock_on_its_way(settings: Settings) -> None:
    """A worker that is stopped in the middle sends a few messages more, not all."""
    clock, sent = Clock(), []
    outbox = Outbox(settings, lambda: 107.0, clock=clock)

    def messages() -> Iterator[tuple[bytes, bytes]]:
        for number in range(1000):
            clock.now = 100.0 if number < 100 else 200.0
            sent.append(number)
            yield b"k", b"v"

    with pytest.raises(LostError):
        outbox.send_all("t", messages())

    assert len(sent) <= 100 + LOOK_EVERY + 1


def test_dead_letters_need_no_lease_and_a_purge_leaves_nothing(settings: Settings) -> None:
    """They may come twice: their origin tells them apart."""
    outbox = Outbox(settings, lambda: 0.0, clock=Clock())
    for _ in range(100):
        outbox.send("dlq", b"k", b"v", fenced=False)
    assert outbox.waiting() >= 100

    outbox.purge()

    assert outbox.waiting() < 50
