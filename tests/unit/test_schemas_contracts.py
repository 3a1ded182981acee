"""Contracts: committed versions against models, and what breaks compatibility."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from nilo_schemas.compatibility import breaks
from nilo_schemas.contracts import (
    FOLDER,
    contract,
    problems,
    records,
    text,
    versions,
    write_changed,
)
from nilo_schemas.errors import ContractError
from nilo_schemas.families import TradeEvent
from nilo_schemas.results import MetricWindow

TRADE = "events.trade"


def changed(change: Any) -> dict[str, Any]:
    """The trade contract after `change` was done to its fields, by name."""
    schema = copy.deepcopy(contract(TradeEvent))
    fields = {field["name"]: field for field in schema["fields"]}
    change(fields)
    schema["fields"] = list(fields.values())
    return schema


def market(fields: dict[str, Any]) -> dict[str, Any]:
    record: dict[str, Any] = fields["market"]["type"][1]
    return record


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(FOLDER, tmp_path / "avro"))


@pytest.mark.parametrize("topic", records())
def test_the_newest_committed_version_is_the_model(topic: str) -> None:
    kept = versions(topic)
    assert kept[max(kept)] == contract(records()[topic]), "run `nilo schemas generate`"


def test_the_committed_contracts_have_no_problems() -> None:
    assert list(problems()) == []


def test_a_contract_that_differs_from_its_model_is_found(folder: Path) -> None:
    schema = changed(lambda fields: fields.pop("pnl"))
    (folder / TRADE / "1.avsc").write_text(text(schema))
    assert [line for line in problems(folder) if "differ" in line] == [
        f"{TRADE}: model and contract differ; `nilo schemas generate` writes the next one"
    ]


def test_generate_writes_the_next_version_and_only_that(folder: Path) -> None:
    (folder / TRADE / "1.avsc").write_text(text(changed(lambda fields: fields.pop("pnl"))))
    assert list(write_changed(folder)) == [folder / TRADE / "2.avsc"]
    assert list(problems(folder)) == []
    assert list(write_changed(folder)) == []


def test_a_version_that_breaks_readers_is_a_problem(folder: Path) -> None:
    bad = changed(lambda fields: fields["pnl"].update(type="string", default=""))
    shutil.copy(folder / TRADE / "1.avsc", folder / TRADE / "2.avsc")
    (folder / TRADE / "1.avsc").write_text(text(bad))
    found = list(problems(folder))
    assert all(line.startswith(TRADE) for line in found)
    ways = ("the model cannot read version 1", "version 1 cannot read the model")  # FULL
    assert all(any(way in line for line in found) for way in ways)
    assert all("field pnl" in line for line in found)


@pytest.mark.parametrize(("name", "content"), [("1.avsc", "{"), ("new.avsc", "{}")])
def test_a_file_that_is_no_contract_is_named(folder: Path, name: str, content: str) -> None:
    (folder / TRADE / name).write_text(content)
    with pytest.raises(ContractError, match=name):
        list(problems(folder))


def _set(name: str, **values: Any) -> Any:
    return lambda fields: fields[name].update(values)


def _add(name: str, **values: Any) -> Any:
    return lambda fields: fields.update({name: {"name": name, **values}})


CASES: dict[str, tuple[Any, str]] = {
    "a field without default removed": (lambda fields: fields.pop("source"), "source"),
    "added without default": (_add("fresh", type="string"), "fresh"),
    "a changed type": (_set("pnl", type=["null", "string"]), "pnl"),
    "a long narrowed to int": (_set("pnl", type=["null", "int"]), "pnl"),
    "a null no longer allowed": (
        lambda fields: (fields["gate"].pop("default"), fields["gate"].update(type="string")),
        "gate",
    ),
    "a time that becomes a number": (_set("time", type="long"), "time"),
    "inside the nested record: type": (
        lambda fields: market(fields)["fields"][0].update(type=["null", "string"]),
        "market.volatility_1h",
    ),
    "inside the nested record: no default": (
        lambda fields: market(fields)["fields"].append({"name": "deep", "type": "long"}),
        "market.deep",
    ),
    "an enum symbol removed, and no default": (
        lambda fields: fields["severity"].update(
            type={"type": "enum", "name": "Severity", "symbols": ["DEBUG", "INFO"]}
        ),
        "severity",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_field_that_breaks_is_named(case: str) -> None:
    change, field = CASES[case]
    old, new = contract(TradeEvent), changed(change)
    found = [*breaks(new, old), *breaks(old, new)]
    assert found
    assert all(f"field {field}:" in line for line in found)


def test_a_field_inside_a_list_of_records_is_named() -> None:
    new = copy.deepcopy(contract(MetricWindow))
    sources = next(field for field in new["fields"] if field["name"] == "sources")
    sources["type"]["items"]["fields"][0]["type"] = "long"
    assert all("field sources[].topic:" in line for line in breaks(new, contract(MetricWindow)))
    assert list(breaks(new, contract(MetricWindow)))


@pytest.mark.parametrize(
    "change",
    [
        lambda fields: fields.pop("pnl"),
        _add("fresh", type=["null", "string"], default=None),
        _add("fresh", type={"type": "map", "values": "string"}, default={}),
        lambda fields: fields["severity"]["type"]["symbols"].append("FATAL"),
        lambda fields: market(fields)["fields"].pop(),
    ],
)
def test_what_may_change_breaks_nothing(change: Any) -> None:
    old, new = contract(TradeEvent), changed(change)
    assert [*breaks(new, old), *breaks(old, new)] == []


def test_a_schema_that_is_none_is_said(folder: Path) -> None:
    bad = changed(_set("gate", type="string"))  # its default is null
    (folder / TRADE / "2.avsc").write_text(text(bad))
    assert any("no valid Avro schema" in line for line in problems(folder))


def test_another_record_is_not_readable() -> None:
    renamed = {**contract(TradeEvent), "name": "Other"}
    assert "Other" in next(breaks(contract(TradeEvent), renamed))


def test_a_contract_is_written_to_be_read() -> None:
    written = text(contract(TradeEvent))
    assert json.loads(written) == contract(TradeEvent)
    assert written.endswith("}\n")
