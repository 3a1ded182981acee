"""A rehearsal says of every record what fastavro's own schema resolution does with it."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import fastavro
import pytest
from fastavro.read import SchemaResolutionError
from fastavro.schema import expand_schema
from hypothesis import given, settings
from hypothesis import strategies as st

from nilo_consumers.rehearse.judge import LOST, Judge
from nilo_schemas.batch import BatchDecoder
from nilo_schemas.contracts import contract
from nilo_schemas.families import TradeEvent
from nilo_schemas.framing import PREFIX
from nilo_schemas.record import Record
from nilo_schemas.results import MetricWindow
from tests.property.readers import readers
from tests.property.strategies import Probe, of, writers, written

Schema = dict[str, Any]
FAILS = "fails"
OURS, OTHER = 1, 2


def read(value: bytes, writer: Schema, reader: Schema) -> Any:
    """One record, by fastavro alone; None where it does not resolve."""
    body = io.BytesIO(value[PREFIX.size :])
    try:
        return fastavro.schemaless_reader(
            body, fastavro.parse_schema(writer), fastavro.parse_schema(reader)
        )
    except SchemaResolutionError:
        return None


def fault(value: bytes, writer: Schema, reader: Schema) -> str | None:
    """What becomes of a record: it fails, or loses the value of a field, or is well."""
    found = read(value, writer, reader)
    if found is None or not types_convert(writer, reader):
        return FAILS
    raw = read(value, writer, writer)
    return next(losses("", [(raw, found)], expand_schema(reader)), None)


def types_convert(writer: Schema, reader: Schema) -> bool:
    """Whether a record resolves that has a value everywhere.

    fastavro looks at types only where there are values; our decoder refuses the whole writer.
    """
    body = io.BytesIO()
    fastavro.schemaless_writer(body, fastavro.parse_schema(writer), full(expand_schema(writer)))
    return read(bytes(PREFIX.size) + body.getvalue(), writer, forgiving(reader)) is not None


def full(kind: Any) -> Any:
    """A value of an expanded type, with something in every field, list and map."""
    if isinstance(kind, list):
        return full(next((each for each in kind if each != "null"), "null"))
    base = kind["type"] if isinstance(kind, dict) else kind
    if base == "record":
        return {field["name"]: full(field["type"]) for field in kind["fields"]}
    if base == "enum":
        return kind["symbols"][0]
    if base in ("array", "map"):
        return [full(kind["items"])] if base == "array" else {"key": full(kind["values"])}
    return {"null": None, "string": "", "boolean": True}.get(base, 1)


def forgiving(kind: Any) -> Any:
    """A reader whose enums all have a default: a symbol is a matter of values."""
    if isinstance(kind, list):
        return [forgiving(each) for each in kind]
    if not isinstance(kind, dict):
        return kind
    more = {"default": kind["symbols"][0]} if kind.get("type") == "enum" else {}
    return {name: forgiving(value) for name, value in kind.items()} | more


def losses(path: str, pairs: list[tuple[Any, Any]], kind: Any) -> Iterator[str]:
    """The fields, in the reader's order, in which a value as written is not the value as read."""
    if isinstance(kind, list):
        kind = next(each for each in kind if each != "null")
    base = kind["type"] if isinstance(kind, dict) else kind
    pairs = [pair for pair in pairs if pair[0] is not None]
    if base == "record":
        for each in kind["fields"]:
            name = each["name"]
            inner = [(raw[name], new[name]) for raw, new in pairs if name in raw]
            yield from losses(f"{path}.{name}" if path else name, inner, each["type"])
    elif base == "array":
        items = [pair for raw, new in pairs for pair in zip(raw, new, strict=True)]
        yield from losses(f"{path}[]", items, kind["items"])
    elif base == "map":
        values = [(raw[key], new[key]) for raw, new in pairs for key in raw]
        yield from losses(f"{path}{{}}", values, kind["values"])
    elif base == "enum":
        yield from [path] if any(raw != new for raw, new in pairs) else []
    elif base == "double":
        whole = [raw for raw, _ in pairs if isinstance(raw, int)]
        yield from [path] if any(abs(raw) > 2**53 for raw in whole) else []


@pytest.mark.parametrize("model", [Probe, TradeEvent, MetricWindow], ids=lambda each: each.__name__)
@settings(max_examples=60)
@given(data=st.data())
def test_every_verdict_is_that_of_fastavro(model: type[Record], data: st.DataObject) -> None:
    reader, (other, project) = data.draw(readers(model)), data.draw(writers(model))
    schemas = {OURS: contract(model), OTHER: other}
    values = [
        written(other, project, record, OTHER)
        if foreign
        else written(schemas[OURS], lambda own: own, record, OURS)
        for record, foreign in data.draw(
            st.lists(st.tuples(of(model), st.booleans()), min_size=1, max_size=5)
        )
    ]
    written_by = [schemas[value[4]] for value in values]
    new = [fault(*pair, reader) for pair in zip(values, written_by, strict=True)]
    now = [fault(*pair, schemas[OURS]) for pair in zip(values, written_by, strict=True)]

    verdict = Judge(model, schemas.__getitem__, reader)(values)
    told = {
        index: each.field if each.reason == LOST else FAILS
        for index, each in verdict.breaks.items()
    }
    already = {i for i, why in enumerate(new) if why and now[i] in (FAILS, why)}
    assert told == {i: why for i, why in enumerate(new) if why and i not in already}
    assert set(verdict.already) == already
    assert set(Judge(model, schemas.__getitem__, reader).failures(values)) == {
        i for i, why in enumerate(new) if why == FAILS
    }

    decoded = BatchDecoder(model, schemas.__getitem__, reader).decode(values)
    rows = decoded.rows.to_pylist(maps_as_pydicts="lossy")
    assert rows == [
        read(*pair, reader)
        for pair, why in zip(zip(values, written_by, strict=True), new, strict=True)
        if why != FAILS
    ]
