"""Arrow to JSON and CSV text, and the SQL of the tables."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nilo_consumers.csv_text import csv_text
from nilo_consumers.json_text import json_text
from nilo_consumers.tables import add_column, create_table, sql_type, stored_schema, table_name
from nilo_schemas.contracts import records
from nilo_schemas.families import LlmEvent
from nilo_schemas.results import MetricWindow

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=20)
NUMBER = st.floats(allow_nan=False, allow_infinity=False)
NESTED = pa.struct(
    [
        ("n", pa.int64()),
        ("list", pa.list_(pa.struct([("f", pa.float64()), ("ok", pa.bool_())]))),
        ("map", pa.map_(pa.string(), pa.float64())),
    ]
)
INNER = st.fixed_dictionaries(
    {"f": st.none() | NUMBER, "ok": st.none() | st.booleans()},
)
ROW = st.fixed_dictionaries(
    {
        "n": st.none() | st.integers(-(2**63), 2**63 - 1),
        "list": st.none() | st.lists(st.none() | INNER, max_size=4),
        "map": st.none() | st.dictionaries(TEXT, NUMBER, max_size=4),
    }
)


def arrow(row: dict[str, Any] | None) -> Any:
    if row is None or row["map"] is None:
        return row
    return row | {"map": list(row["map"].items())}


def parsed(column: pa.Array) -> list[Any]:
    return [None if text is None else json.loads(text) for text in json_text(column).to_pylist()]


@given(st.lists(st.none() | ROW, max_size=5))
def test_nested_values_come_back_from_their_json(rows: list[dict[str, Any] | None]) -> None:
    assert parsed(pa.array([arrow(row) for row in rows], NESTED)) == rows


@given(st.lists(st.none() | TEXT), st.integers(0, 3))
def test_text_comes_back_from_its_json_also_from_a_slice(texts: list[Any], skip: int) -> None:
    column = pa.array([["before"], texts, None, texts], pa.list_(pa.string()))
    assert parsed(column[skip:]) == column[skip:].to_pylist()


@given(st.lists(st.dictionaries(TEXT, TEXT) | st.none()), st.integers(0, 3))
def test_a_slice_of_maps_comes_back_from_its_json(maps: list[Any], skip: int) -> None:
    items = [None if one is None else list(one.items()) for one in maps]
    column = pa.array(items, pa.map_(pa.string(), pa.string()))
    assert parsed(column[skip:]) == maps[skip:]


@given(st.lists(st.none() | ROW, min_size=1, max_size=9), st.integers(1, 4))
def test_the_csv_of_pieces_makes_that_of_the_whole(rows: list[Any], size: int) -> None:
    times = [None if row is None else row["n"] and row["n"] % 2**50 for row in rows]
    columns = {
        "nested": pa.array([arrow(row) for row in rows], NESTED),
        "time": pa.array(times, pa.timestamp("us", "UTC")),
    }
    table = pa.table(columns)
    pieces = [table.slice(begin, size) for begin in range(0, len(rows), size)]

    assert b"".join(csv_text(each).to_pybytes() for each in pieces) == csv_text(table).to_pybytes()


def test_csv_tells_nothing_from_empty() -> None:
    rows = pa.table({"a": pa.array([None, "", "x"]), "n": pa.array([None, 1, 2], pa.int64())})
    assert csv_text(rows).to_pybytes() == b',\n"",1\n"x",2\n'


def test_csv_of_a_time_has_its_zone_and_microseconds() -> None:
    time = pa.array([datetime(2026, 1, 2, 3, 4, 5, 6, UTC)], pa.timestamp("us", "UTC"))
    assert csv_text(pa.table({"t": time})).to_pybytes() == b'"2026-01-02 03:04:05.000006Z"\n'


@given(TEXT)
def test_csv_quotes_what_needs_it(text: str) -> None:
    written = csv_text(pa.table({"a": pa.array([text])})).to_pybytes().decode()
    [[read]] = csv.reader(io.StringIO(written, newline=""), strict=True)
    assert read == text


@pytest.mark.parametrize("topic", records())
def test_every_record_has_a_table(topic: str) -> None:
    statements = [part.as_string() for part in create_table("own", records()[topic])]
    assert statements[0].startswith(f'CREATE TABLE "own"."{table_name(topic)}"')


def test_the_types_of_a_table() -> None:
    create = next(create_table("s", LlmEvent)).as_string()
    for column in (
        '"time" timestamptz NOT NULL', '"model" text,', '"cost" bigint,', '"attempt" integer,',
        '"attributes" jsonb NOT NULL', '"kafka_offset" bigint NOT NULL',
        'PRIMARY KEY ("kafka_partition", "kafka_offset", "time")',
        'PARTITION BY RANGE ("time")',
    ):  # fmt: skip
        assert column in create


def test_a_window_is_stored_once_per_revision_with_the_time() -> None:
    create = next(create_table("s", MetricWindow)).as_string()
    assert '"stored_at" timestamptz NOT NULL' in create
    assert 'PRIMARY KEY ("metric", "window", "window_start", "dimensions", "revision")' in create
    assert "stored_at" not in stored_schema(LlmEvent).names


def test_an_added_column_demands_nothing_of_old_rows() -> None:
    statements = [part.as_string() for part in add_column("s", LlmEvent, "status")]
    assert statements[0].endswith('ADD COLUMN IF NOT EXISTS "status" text')


def test_a_type_without_a_column_is_an_error() -> None:
    with pytest.raises(TypeError, match="date32"):
        sql_type(pa.date32())
