"""The filter of what libraries log."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from nilo_stream_processors.logs import PAUSE_SECONDS, Seldom

NAME = "tests.logs"


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(caplog: pytest.LogCaptureFixture) -> Iterator[Clock]:
    clock = Clock()
    seldom = Seldom(clock)
    logger = logging.getLogger(NAME)
    logger.addFilter(seldom)
    caplog.set_level(logging.INFO, NAME)
    yield clock
    logger.removeFilter(seldom)


def test_a_kind_is_told_once_in_a_while_with_how_many_were_left_out(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    log = logging.getLogger(NAME)
    for node in range(3):
        log.error("no node %s", node)
    clock.now += PAUSE_SECONDS
    log.error("no node %s", 7)
    log.error("no node %s", 8)

    assert caplog.messages == ["no node 0", "no node 7 (and 2 more of this kind)"]


def test_another_kind_is_told_at_once(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    log = logging.getLogger(NAME)
    log.error("no node %s", 1)
    log.error("no metadata")

    assert caplog.messages == ["no node 1", "no metadata"]
