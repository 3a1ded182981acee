"""Offsets at a stop, and those of a topic that is gone."""

from __future__ import annotations

import pytest

from nilo_consumers import StoreMovedError
from nilo_consumers.batch import Holding
from nilo_schemas.settings import Settings
from tests.integration.programs import wait_for
from tests.integration.sinking import COUNT, LLM, calls, each_store, query, sinking, wait_count

pytestmark = [pytest.mark.integration, pytest.mark.topics("events.llm")]


@each_store
def test_what_is_held_is_written_at_a_stop(
    settings: Settings, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When nothing is ever due, a stop still writes what is held."""
    monkeypatch.setattr(Holding, "due", lambda _self: False)
    calls(settings, 100)
    with sinking(store, settings, topics=[LLM]) as sink:
        wait_for("all read", lambda: sink.total("nilo_consumed_events_total") == 100)
        assert COUNT[store](settings, LLM) == 0

    assert COUNT[store](settings, LLM) == 100


def test_a_topic_made_anew_is_refused(settings: Settings) -> None:
    calls(settings, 3, partition=0)
    with sinking("postgres", settings, topics=[LLM]):
        wait_count("postgres", settings, 3)
    query(settings, "UPDATE sink_offsets SET next_offset = 99 WHERE partition = 0")

    with (
        pytest.raises(StoreMovedError, match="made anew"),
        sinking("postgres", settings, topics=[LLM]),
    ):
        pass
