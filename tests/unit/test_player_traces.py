"""Every shipped mapping makes valid events of all rows of its real trace."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import chain
from pathlib import Path

import pytest

from nilo_producers.errors import RowError
from nilo_producers.files import open_table
from nilo_producers.mapping import describe_clock, recognise, resolve, shipped
from nilo_producers.rows import RowReader
from nilo_schemas.envelope import Event

DATA = Path(__file__).parents[3] / "shared" / "data"
MOST_ROWS = 50_000
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"the traces are not at {DATA}")

# file, type, rows that are read (all, but for the two large files), time of the first event
FACTS = [
    ("llm/azure_llm_2023_conv.parquet", "llm.call", 19_366, "2023-11-16T18:15:46.680590"),
    ("llm/azure_llm_2023_code.parquet", "llm.call", 8_819, "2023-11-16T18:17:03.979960"),
    ("llm/mooncake_conversation.parquet", "llm.call", 12_031, None),
    ("agents/who_and_when.parquet", "debate.turn", 4_092, None),
    ("agents/tau_bench_gpt4o_airline.parquet", "chat.message", 5_308, None),
    ("agents/swe_agent_demos.parquet", "graph.node.exit", 205, None),
    (
        "trading/spy_trade_ticks_20131007_11.parquet",
        "trade.execution",
        MOST_ROWS,
        "2013-10-07T08:00:00.464",
    ),
    ("trading/crypto_ohlcv_lean.parquet", "trade.signal", 45_433, "2022-12-13T00:00:00"),
    ("web/apache_access_201505.parquet", "ui.view", 9_999, "2015-05-17T10:05:03"),
    ("training/rl_episodes.parquet", "kpi.snapshot", MOST_ROWS, "2021-03-01T18:05:54.258391"),
    ("training/es_generations.parquet", "kpi.snapshot", 32_105, None),
]


def fail(error: RowError) -> None:
    raise error


def events_of(file: str | Path) -> Iterator[Event]:
    path = DATA / file
    reader = RowReader(open_table(path), resolve(path, None, None))
    return reader.events(fail, limit=MOST_ROWS)


@pytest.mark.parametrize(("file", "event_type", "rows", "first"), FACTS)
def test_all_rows_become_events(file: str, event_type: str, rows: int, first: str | None) -> None:
    events = events_of(file)
    begin = next(events)
    types = {begin.type}
    count = 1
    for event in events:
        types.add(event.type)
        count += 1

    assert types == {event_type}
    assert count == rows
    if first is None:
        assert "made up" in describe_clock(resolve(DATA / file, None, None))
    else:
        assert begin.time == datetime.fromisoformat(first).replace(tzinfo=UTC)


def test_all_rows_of_nab_become_events() -> None:
    files = sorted((DATA / "nab").glob("*/*.csv"))
    counts = {
        file.name: (sum(1 for _ in events_of(file)), len(file.read_text().splitlines()) - 1)
        for file in files
    }

    assert len(files) == 31
    assert all(made == rows for made, rows in counts.values())


def test_every_trace_is_known_and_every_mapping_has_a_trace() -> None:
    files = [*DATA.rglob("*.parquet"), *(DATA / "nab").rglob("*.csv")]
    used = [recognise(file) for file in files]

    assert None not in used
    assert {id(mapping) for mapping in used} == {id(mapping) for mapping in shipped().values()}


def test_values_are_those_of_the_file() -> None:
    conv = next(events_of("llm/azure_llm_2023_conv.parquet")).model_dump()
    spy = next(events_of("trading/spy_trade_ticks_20131007_11.parquet")).model_dump()
    turn = next(events_of("agents/who_and_when.parquet")).model_dump()

    assert (conv["input_tokens"], conv["output_tokens"]) == (374, 44)
    assert (str(spy["price"]), spy["quantity"]) == ("167.41", 100)
    assert (turn["agent"], turn["turn"], turn["chars"]) == ("Excel_Expert", 0, 2551)


def test_execution_times_are_durations() -> None:
    durations = [
        event.model_dump()["duration"] for event in events_of("agents/swe_agent_demos.parquet")
    ]

    assert sum(duration is None for duration in durations) == 170
    assert all(duration > timedelta(0) for duration in durations if duration is not None)


def test_the_words_of_people_stay_in_the_file() -> None:
    longest = {
        max(len(text) for text in event.attributes.values())
        for event in chain(
            events_of("agents/who_and_when.parquet"),
            events_of("agents/tau_bench_gpt4o_airline.parquet"),
        )
    }

    assert max(longest) < 100
