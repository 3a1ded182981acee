"""Rehearsing a new contract: which files are taken, what rows of a store break, which are drawn."""

from __future__ import annotations

import copy
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nilo_cli.main import main
from nilo_consumers.batch import OFFSET, PARTITION
from nilo_consumers.rehearse.in_lake import looked_for
from nilo_consumers.rehearse.in_postgres import plan
from nilo_consumers.rehearse.sample import Sample
from nilo_schemas.contracts import contract, records, text
from nilo_schemas.errors import ContractError
from nilo_schemas.families import LlmEvent, TradeEvent
from nilo_schemas.proposed import proposed, topic_of
from nilo_schemas.settings import load_settings


def with_field(**field: Any) -> dict[str, Any]:
    schema = copy.deepcopy(contract(LlmEvent))
    schema["fields"].append({"name": "extra"} | field)
    return schema


@pytest.mark.parametrize("topic", records())
def test_every_contract_of_ours_may_be_proposed_and_finds_its_topic(
    topic: str, tmp_path: Path
) -> None:
    file = tmp_path / "new.avsc"
    file.write_text(text(contract(records()[topic])))
    assert topic_of(proposed(file)) == topic


REFUSED: dict[str, tuple[Any, str]] = {
    "a record": ("string", "is not the Avro schema of a record"),
    "a union": (["null", "string"], "is not the Avro schema of a record"),
    "fields": ({"type": "record", "name": "X", "fields": []}, "a record needs a field"),
    "float": (with_field(type="float"), "field extra: cannot be of the type"),
    "bytes": (with_field(type=["null", "bytes"]), "our contracts have string"),
    "three": (with_field(type=["null", "string", "long"]), "unions of null with one"),
    "null": (with_field(type={"type": "array", "items": "null"}), "field extra[]"),
    "uuid": (with_field(type={"type": "string", "logicalType": "uuid"}), "field extra"),
    "recursive": (with_field(type=["null", "LlmEvent"]), "nilo.LlmEvent"),
    "unknown": (with_field(type="Nowhere"), "Nowhere"),
    "aliases": (with_field(type="string", aliases=["x"]), "aliases are not read"),
    "default": (with_field(type="long", default="x"), "Default value <x>"),
    "symbol": (with_field(type="Severity", default="LOUD"), "no symbol of its enum"),
    "range": (with_field(type="int", default=2**40), "extra"),
    "twice": (with_field(name="id", type="string"), "field id: is there twice"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_our_contracts_cannot_say_is_refused_in_one_line(case: str, tmp_path: Path) -> None:
    file = tmp_path / "new.avsc"
    file.write_text(json.dumps(REFUSED[case][0]))
    with pytest.raises(ContractError) as caught:
        proposed(file)
    assert REFUSED[case][1] in str(caught.value)
    assert str(caught.value).startswith(str(file))
    assert "\n" not in str(caught.value)


def test_wrong_usage_has_exit_code_2_and_says_the_way_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "new.avsc"
    asked = ["--home", str(tmp_path), "schemas", "rehearse", str(file)]
    for content, told in (
        (None, "cannot be read: No such file"),
        (b"\xff", "is not JSON"),
        (json.dumps(contract(LlmEvent) | {"name": "Odd"}).encode(), "--topic"),
        (json.dumps(contract(LlmEvent)).encode(), "there are events.llm"),
    ):
        if content is not None:
            file.write_bytes(content)
        more = ["--topic", "events.odd"] if told.startswith("there") else []
        assert main([*asked, *more]) == 2
        assert told in capsys.readouterr().err


STORED = pa.table(
    {
        PARTITION: pa.array([0] * 4, pa.int32()),
        OFFSET: [0, 1, 2, 3],
        "name": ["1", "x", None, "4"],
        "count": [1, 2**40, 2**53 + 1, None],
        "labels": pa.array([[("a", 1)], None, [("b", 2**40)], []], pa.map_("string", "int64")),
        "part": [{"old": 1}, {"old": None}, None, {"old": 2}],
        "mood": ["A", "B", None, "A"],
        "gone": [None, 5, None, None],
    }
)


def broken(*fields: dict[str, Any]) -> dict[int, tuple[str, str]]:
    """By row: the reason and the field, for a contract with these fields and those of no column."""
    reader = {"type": "record", "name": "R", "fields": list(fields)}
    look = looked_for(STORED.schema, reader)
    batch = STORED.select([PARTITION, OFFSET, *look.columns]).to_batches()[0]
    return {row: (each.reason, each.field) for row, each in look.faults(batch).items()}


PART: Any = {"type": "record", "name": "P", "fields": [{"name": "new", "type": "long"}]}
OLD = PART | {"fields": [{"name": "old", "type": ["null", "long"]}]}
LONGS = {"type": "map", "values": "long"}
KINDS = {"name": "string", "count": "long", "labels": LONGS, "part": OLD, "mood": "string"}
KEPT = [{"name": name, "type": ["null", kind]} for name, kind in (KINDS | {"gone": "long"}).items()]
MOOD: Any = {"type": "enum", "name": "Mood", "symbols": ["A", "C"]}
INCOMPATIBLE, ALL = "incompatible", range(4)


def but(name: str, **field: Any) -> list[dict[str, Any]]:
    """The fields of all columns, one of them another one."""
    return [{"name": name} | field if each["name"] == name else each for each in KEPT]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (KEPT, {}),
        (KEPT[:-1], {1: ("lost", "gone")}),
        ([*KEPT, {"name": "late", "type": "long"}], dict.fromkeys(ALL, (INCOMPATIBLE, "late"))),
        ([*KEPT, {"name": "late", "type": "long", "default": 0}], {}),
        (but("name", type="string"), {2: (INCOMPATIBLE, "name")}),
        (but("name", type="string", default=""), {}),  # older than the column: the default is meant
        (but("name", type=["null", "long"]), {1: (INCOMPATIBLE, "name")}),
        (but("count", type=["null", "int"]), dict.fromkeys((1, 2), (INCOMPATIBLE, "count"))),
        (but("count", type=["null", "double"]), {2: ("lost", "count")}),
        (but("count", type=["null", "boolean"]), dict.fromkeys(range(3), (INCOMPATIBLE, "count"))),
        (but("count", type=["null", "string"]), {}),
        (but("labels", type=["null", {"type": "map", "values": "int"}]),
         {2: (INCOMPATIBLE, "labels{}")}),
        (but("labels", type="string"), dict.fromkeys((0, 2, 3), (INCOMPATIBLE, "labels"))),
        (but("part", type=["null", PART]), dict.fromkeys(ALL, (INCOMPATIBLE, "part.new"))),
        (but("mood", type=["null", MOOD]), {1: (INCOMPATIBLE, "mood")}),
        (but("mood", type=["null", MOOD | {"default": "C"}]), {1: ("lost", "mood")}),
    ],
)  # fmt: skip
def test_rows_of_a_store_break_where_their_values_do_not_fit(
    fields: list[dict[str, Any]], expected: dict[int, tuple[str, str]]
) -> None:
    assert broken(*fields) == expected


@given(st.integers(1, 400), st.integers(1, 20), st.integers(1, 50))
def test_a_sample_is_whole_or_spread_evenly(records: int, limit: int, size: int) -> None:
    sample = Sample[int](limit)
    for first in range(0, records, size):
        sample.offer(range(first, min(first + size, records)))
    drawn = sample.drawn()
    assert len(drawn) == min(records, limit)
    assert drawn == sorted(set(drawn))
    assert drawn[0] == 0
    gaps = [after - before for before, after in pairwise([*drawn, records])]
    assert max(gaps) <= 3 * records / limit + 1


def test_without_a_database_the_contract_in_force_stands_for_the_table(tmp_path: Path) -> None:
    settings = load_settings({"home": tmp_path}, env={})
    new = with_field(type="string", default="")
    found = plan(settings, LlmEvent, new, "version 1 of the contract")
    assert found.compared.startswith("version 1 of the contract, as no table can be seen: ")
    assert [each.by for each in found.statements] == ["sink"]


def test_a_change_that_no_statement_makes_is_told(tmp_path: Path) -> None:
    settings = load_settings({"home": tmp_path}, env={})
    new = copy.deepcopy(contract(TradeEvent))
    kinds: dict[str, Any] = {"decision_time": ["null", "long"], "session_id": ["null", "long"]}
    for field in new["fields"]:
        field["type"] = kinds.get(field["name"], field["type"])
    new["fields"] = [field for field in new["fields"] if field["name"] != "time"]
    new["fields"].append({"name": "kafka_offset", "type": ["null", "long"], "default": None})
    found = plan(settings, TradeEvent, new, "")
    assert found.statements == []
    assert sorted(line.split(":")[0] for line in found.impossible) == [
        "column decision_time", "column kafka_offset", "column session_id", "column time",
    ]  # fmt: skip
