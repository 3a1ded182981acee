"""Hypothesis strategies: changes of a contract, such as somebody may propose."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

from nilo_schemas.contracts import contract
from nilo_schemas.record import Record
from tests.property.strategies import names_a_type

Schema = dict[str, Any]
_OTHER: dict[str, list[Any]] = {
    "long": ["double", "int", "string"],
    "int": ["long", "double", "boolean"],
    "double": ["long", "string"],
    "string": ["long", {"type": "array", "items": "string"}],
    "boolean": ["string"],
}


@st.composite
def readers(draw: st.DrawFn, model: type[Record]) -> Schema:
    """The contract of a model with up to three changes, also in nested records."""
    schema = copy.deepcopy(contract(model))
    for _ in range(draw(st.integers(0, 3))):
        record = draw(st.sampled_from(list(_records(schema))))
        field = draw(st.sampled_from(record["fields"]))
        change = draw(st.sampled_from([_drop, _demand, _allow, _retype, _retype, _forget, _add]))
        change(draw, record, field)
    return schema


def _records(kind: Any) -> Iterator[Schema]:
    if isinstance(kind, list):
        for branch in kind:
            yield from _records(branch)
    elif isinstance(kind, dict):
        if kind["type"] == "record":
            yield kind
            for field in kind["fields"]:
                yield from _records(field["type"])
        for name in ("items", "values"):
            yield from _records(kind.get(name))


def _drop(_: st.DrawFn, record: Schema, field: Schema) -> None:
    if len(record["fields"]) > 1 and not names_a_type(field["type"]):
        record["fields"].remove(field)


def _demand(_: st.DrawFn, _record: Schema, field: Schema) -> None:
    """No null any more, and no default."""
    field.pop("default", None)
    if isinstance(field["type"], list):
        field["type"] = field["type"][1]


def _allow(_: st.DrawFn, _record: Schema, field: Schema) -> None:
    if not isinstance(field["type"], list):
        field.update(type=["null", field["type"]], default=None)


def _retype(draw: st.DrawFn, _record: Schema, field: Schema) -> None:
    nullable = isinstance(field["type"], list)
    kind = field["type"][1] if nullable else field["type"]
    if isinstance(kind, str) and kind in _OTHER:
        other = draw(st.sampled_from(_OTHER[kind]))
        field["type"] = ["null", other] if nullable else other
        if not nullable:
            field.pop("default", None)


def _forget(draw: st.DrawFn, record: Schema, _: Schema) -> None:
    """A symbol of an enum goes, and the fallback with it or not."""
    for enum in _enums([field["type"] for field in record["fields"]]):
        gone = draw(st.sampled_from([each for each in enum["symbols"] if each != enum["default"]]))
        if len(enum["symbols"]) > 2:
            enum["symbols"] = [each for each in enum["symbols"] if each != gone]
        if draw(st.booleans()):
            del enum["default"]
        return


def _enums(kind: Any) -> Iterator[Schema]:
    if isinstance(kind, list):
        for branch in kind:
            yield from _enums(branch)
    elif isinstance(kind, dict) and kind["type"] == "enum" and "default" in kind:
        yield kind
    elif isinstance(kind, dict):
        yield from _enums([kind[name] for name in ("items", "values") if name in kind])


def _add(draw: st.DrawFn, record: Schema, _: Schema) -> None:
    name = f"added_{sum(each['name'].startswith('added') for each in record['fields'])}"
    record["fields"].append({"name": name, "type": "long"} | draw(_DEFAULT))


_DEFAULT = st.sampled_from([{"default": 3}, {}])
