"""The order of a commit: its outbox has a broker that never answers; the rest only takes notes."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from nilo_schemas.settings import load_settings
from nilo_stream_processors import outbox as outbox_module
from nilo_stream_processors.keeper import Keeper
from nilo_stream_processors.outbox import Outbox


class Noted:
    """Notes the name of every method that is called."""

    ready, topics, topic = True, ("events.llm",), "metrics.partials"
    should_stop, rebalancing = True, False

    def __init__(self, notes: list[str]) -> None:
        self._notes = notes
        self.on_partitions_revoked = SimpleNamespace(connect=lambda *_, **__: None)

    def is_behind(self) -> bool:
        return False

    def lease(self) -> float:
        return 1e12

    @property
    def consumer(self) -> Noted:
        return self

    def __getattr__(self, name: str) -> Any:
        return lambda **_: self._notes.append(name)


@pytest.fixture
def outbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Outbox:
    monkeypatch.setattr(outbox_module, "DELIVERY_SECONDS", 0.5)
    settings = load_settings({"home": tmp_path, "kafka_bootstrap_servers": "127.0.0.1:1"}, env={})
    return Outbox(settings, lambda: 1e12)


def write_state(outbox: Outbox) -> tuple[bool, list[str]]:
    """One write, and what was asked of stages and app meanwhile."""
    notes: list[str] = []
    noted: Any = Noted(notes)
    keeper = Keeper(noted, noted, noted, noted, outbox=outbox)
    return asyncio.run(keeper.write_state()), notes


def test_state_is_stored_before_results_are_published(outbox: Outbox) -> None:
    written, notes = write_state(outbox)

    assert written
    assert list(dict.fromkeys(notes)) == ["save", "store", "add_samples", "publish"]


def test_nothing_is_stored_while_a_dead_letter_is_missing(outbox: Outbox) -> None:
    """The state has passed over its event: whoever recovered it would never send it again."""
    outbox.send("dlq", b"k", b"v", fenced=False)

    written, notes = write_state(outbox)

    assert not written
    assert set(notes) == {"save", "pause", "rejoin"}
