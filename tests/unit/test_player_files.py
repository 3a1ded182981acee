"""Files of all kinds become the same events; rows that do not fit are named."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nilo_producers import FileError, MappingError, PlayError, RowError, parse_speed
from nilo_producers.files import BATCH, open_table
from nilo_producers.mapping import Mapping, recognise, resolve
from nilo_producers.rows import RowReader
from nilo_schemas.envelope import Event
from nilo_schemas.errors import ContractError
from nilo_schemas.families import LlmEvent, TradeEvent

FIELDS = {"time": "at:UTC", "model": "name", "duration": "ms:ms", "input_tokens": "tokens"}
ROWS: list[dict[str, Any]] = [
    {"at": "2024-01-01 00:00:00", "name": "a", "ms": 1.5, "tokens": 3},
    {"at": "2024-01-01 00:00:10", "name": "b", "ms": 250, "tokens": None},
    {"at": "2024-01-01 00:00:05", "name": None, "ms": None, "tokens": 7},
]


def write_csv(path: Path, rows: list[dict[str, Any]]) -> Path:
    with path.with_suffix(".csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path.with_suffix(".csv")


def write_json(path: Path, rows: list[dict[str, Any]]) -> Path:
    path = path.with_suffix(".jsonl")
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def write_parquet(path: Path, rows: list[dict[str, Any]]) -> Path:
    path = path.with_suffix(".parquet")
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def fail(error: RowError) -> None:
    raise error


def read(
    path: Path,
    fields: dict[str, str],
    event_type: str = "llm.call",
    on_bad: Callable[[RowError], None] = fail,
    **more: Any,
) -> list[Event]:
    reader = RowReader(open_table(path), Mapping(event_type, fields))
    return list(reader.events(on_bad, **more))


@pytest.mark.parametrize("write", [write_csv, write_json, write_parquet])
def test_every_kind_of_file_gives_the_same_events(
    write: Callable[[Path, list[dict[str, Any]]], Path], tmp_path: Path
) -> None:
    events = read(write(tmp_path / "calls", ROWS), FIELDS)

    assert [event.model_dump(exclude={"id"}) for event in events] == [
        LlmEvent(
            type="llm.call",
            source="calls",
            time=datetime(2024, 1, 1, 0, 0, seconds, tzinfo=UTC),
            model=model,
            duration=duration,
            input_tokens=tokens,
        ).model_dump(exclude={"id"})
        for seconds, model, duration, tokens in (
            (0, "a", timedelta(microseconds=1500), 3),
            (10, "b", timedelta(milliseconds=250), None),
            (5, None, None, 7),
        )
    ]
    assert len({event.id for event in events}) == 3


@pytest.mark.parametrize("write", [write_csv, write_json, write_parquet])
def test_files_longer_than_a_batch_and_limits(
    write: Callable[[Path, list[dict[str, Any]]], Path], tmp_path: Path
) -> None:
    path = write(tmp_path / "calls", [{"n": n} for n in range(2 * BATCH + 5)])

    assert [e.model_dump()["input_tokens"] for e in read(path, {"input_tokens": "n"})] == list(
        range(2 * BATCH + 5)
    )
    assert len(read(path, {"input_tokens": "n"}, limit=BATCH + 1)) == BATCH + 1
    assert read(path, {"input_tokens": "n"}, limit=0) == []


def test_a_mapping_of_fixed_texts_alone_gives_as_many_events_as_rows(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "calls", ROWS)

    assert len(read(path, {"model": "'m'"})) == 3


def test_nanoseconds_of_parquet_are_cut_to_microseconds(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"t": pa.array([1_614_621_954_258_391_999], pa.timestamp("ns"))}), path)

    assert read(path, {"time": "t:UTC"})[0].time == datetime(
        2021, 3, 1, 18, 5, 54, 258391, tzinfo=UTC
    )


def test_nested_fields_are_reached_by_a_dot(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "gates", [{"vol": "0.5", "venue": "x"}])
    fields = {"market.volatility_1h": "vol", "attributes.venue": "venue", "price": "'1.10'"}

    (event,) = read(path, fields, "trade.gate")

    assert isinstance(event, TradeEvent)
    assert event.market
    assert event.market.volatility_1h == 0.5
    assert event.attributes == {"venue": "x"}


def test_rows_without_a_clock_get_times_a_step_apart(tmp_path: Path) -> None:
    reader = RowReader(
        open_table(write_csv(tmp_path / "x", ROWS)),
        Mapping("llm.call", {"model": "name"}, start=datetime(2020, 1, 1, tzinfo=UTC), step=2.5),
    )

    times = [event.time for event in reader.events(fail)]

    assert [(t - times[0]).total_seconds() for t in times] == [0, 2.5, 5]
    assert times[0] == datetime(2020, 1, 1, tzinfo=UTC) == reader.first_time()
    assert reader.last_time() == times[-1]


def test_a_shift_moves_every_time_of_an_event(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "x", [{"at": "2024-01-01", "cut": "2024-01-02"}])
    fields = {"time": "at:UTC", "decision_time": "at:UTC", "label_cutoff_time": "cut:UTC"}

    (event,) = read(path, fields, "trade.signal", shift=timedelta(days=10))

    assert isinstance(event, TradeEvent)
    assert event.time == event.decision_time == datetime(2024, 1, 11, tzinfo=UTC)
    assert event.label_cutoff_time == datetime(2024, 1, 12, tzinfo=UTC)


def test_the_last_time_is_the_latest_and_not_that_of_the_last_row(tmp_path: Path) -> None:
    reader = RowReader(
        open_table(write_csv(tmp_path / "x", [*ROWS, {"at": "never"}])),
        Mapping("llm.call", {"time": "at:UTC"}),
    )

    assert reader.last_time() == datetime(2024, 1, 1, 0, 0, 10, tzinfo=UTC)
    assert reader.last_time(limit=1) == datetime(2024, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("at,name,ms,tokens\n2024-01-01,m,x,1\n", "row 1 of x.csv: duration: 'x' is not a number"),
        ("at,name,ms,tokens\n2024-01-01,m,-5,1\n", "duration"),
        ("at,name,ms,tokens\n2024-01-01,m,5,-1\n", "input_tokens: '-1'"),
        ("at,name,ms,tokens\n2024-01-01,m,5,1.5\n", "input_tokens: '1.5'"),
        ("at,name,ms,tokens\n,m,5,1\n", "time: the row has none"),
        ("at,name,ms,tokens\n9999-99-99,m,5,1\n", "time: "),
        ("at,name,ms,tokens\n2024-01-01,m,5\n", "fewer cells"),
        ("at,name,ms,tokens\n2024-01-01,m,5,1,9\n", "1 cells more"),
    ],
)
def test_a_row_that_does_not_fit_is_named_and_the_rest_goes_on(
    text: str, reason: str, tmp_path: Path
) -> None:
    path = tmp_path / "x.csv"
    path.write_text(text + "2024-01-01,good,1,1\n")
    bad: list[RowError] = []

    events = read(path, FIELDS, on_bad=bad.append)

    assert [event.model_dump()["model"] for event in events] == ["good"]
    assert [error.row for error in bad] == [1]
    assert reason in str(bad[0])
    assert "\n" not in str(bad[0])


@pytest.mark.parametrize("line", ["{", "[1]", '"text"', "null"])
def test_a_line_that_is_no_json_object_is_a_bad_row(line: str, tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(f'{{"m": "a"}}\n\n{line}\n{{"other": 1}}\n')
    bad: list[RowError] = []

    events = read(path, {"model": "m"}, on_bad=bad.append)

    assert [event.model_dump()["model"] for event in events] == ["a", None]
    assert [error.row for error in bad] == [2]


@pytest.mark.parametrize(
    ("name", "content", "named"),
    [
        ("x.xlsx", b"", "ends in none of .csv, .jsonl, .ndjson, .parquet"),
        ("x.csv", b"", "is empty"),
        ("x.csv", b"a\n\xff\xfe\n", "UTF-8"),
        ("x.jsonl", b"\n", "no line with a JSON object"),
        ("x.parquet", b"PAR1", "not readable as Parquet"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(
    name: str, content: bytes, named: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_bytes(content)

    with pytest.raises(FileError, match=named) as caught:
        read(path, {"model": "a"})

    assert str(path) in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="is not a file"):
        open_table(tmp_path / "x.csv")


@pytest.mark.parametrize(
    ("field", "named"),
    [
        ("colour", "takes no field 'colour' from a file; it has time, source, subject"),
        ("id", "takes no field 'id'"),
        ("model.name", "model has no entry 'name'"),
    ],
)
def test_an_unknown_field_is_refused_with_the_known_ones(
    field: str, named: str, tmp_path: Path
) -> None:
    with pytest.raises(MappingError, match=named):
        read(write_csv(tmp_path / "x", ROWS), {field: "name"})


def test_an_unknown_file_needs_a_type_and_a_map() -> None:
    with pytest.raises(MappingError, match="give --as TYPE and --map"):
        resolve(Path("calls.csv"), None, None)
    with pytest.raises(MappingError, match=r"makes llm\.call of calls\.csv: give --map"):
        resolve(Path("calls.csv"), "llm.call", None)
    with pytest.raises(ContractError, match=r"llm\.cal"):
        resolve(Path("azure_llm_2023_conv.parquet"), "llm.cal", None)


def test_a_given_map_lies_over_the_shipped_one() -> None:
    file = Path("/x/azure_llm_2023_conv.parquet")
    mapping = resolve(file, "llm.stream", {"model": "'m'", "source": "'s'"})

    assert mapping.type == "llm.stream"
    assert mapping.fields["model"] == "'m'"
    assert mapping.fields["source"] == "'s'"
    assert mapping.fields["input_tokens"] == "ContextTokens"
    assert resolve(file, "ui.view", {"page": "'p'"}).fields == {"page": "'p'"}


def test_the_pattern_that_says_most_is_chosen() -> None:
    known = recognise(Path("/d/nab/realKnownCause/cpu_utilization_asg_misconfiguration.csv"))
    other = recognise(Path("/d/nab/realKnownCause/nyc_taxi.csv"))

    assert known
    assert other
    assert (known.type, other.type) == ("resource.sampled", "kpi.snapshot")
    assert recognise(Path("/d/own/nyc_taxi.csv")) is None


@pytest.mark.parametrize(
    ("text", "factor"), [("max", float("inf")), ("1x", 1), ("60x", 60), ("0.5", 0.5), (2.0, 2)]
)
def test_speeds(text: str | float, factor: float) -> None:
    assert parse_speed(text) == factor


@pytest.mark.parametrize("text", ["0", "-1x", "fast", "nan", ""])
def test_a_speed_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(PlayError, match="neither max nor a factor"):
        parse_speed(text)
