"""Hypothesis strategies: records of every family, also as older and newer writers send them."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import Enum
from functools import cache
from typing import Any, ClassVar, Literal, get_args, get_origin, get_type_hints

import fastavro
from hypothesis import settings
from hypothesis import strategies as st
from pydantic import Field

from nilo_schemas import fields, results
from nilo_schemas.contracts import contract, records
from nilo_schemas.framing import frame
from nilo_schemas.record import Part, Record, inner_type, plain_type

SHORT = settings(max_examples=30)

text = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)
names = text.filter(bool)
doubles = st.floats(allow_nan=False, allow_infinity=False)
# Extremes first: hypothesis seldom draws both ends of such a range by itself.
times = st.sampled_from(
    [datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)]
) | st.datetimes(timezones=st.just(UTC))
money = st.decimals(Decimal(-9_000_000_000), Decimal(9_000_000_000), places=9)
counts = st.integers(0, 2**63 - 1)


def _hex(digits: int) -> st.SearchStrategy[str]:
    return st.integers(1, 16**digits - 1).map(lambda number: f"{number:0{digits}x}")


_KNOWN: list[tuple[Any, st.SearchStrategy[Any]]] = [
    (fields.Text, text),
    (fields.Name, names),
    (fields.Time, times),
    (fields.Duration, st.timedeltas(timedelta(0), timedelta(days=36_525))),
    (fields.Money, money),
    (fields.Cost, money.map(abs)),
    (fields.Count, counts),
    (fields.Small, st.integers(0, 2**31 - 1)),
    (fields.Share, st.floats(0, 1)),
    (fields.TraceId, _hex(32)),
    (fields.SpanId, _hex(16)),
    (results.Int, st.integers(-(2**31), 2**31 - 1)),
]
_SPECIAL: dict[str, st.SearchStrategy[Any]] = {
    "sample_rate": st.integers(1, 2**31 - 1),
    "sentiment": st.floats(-1, 1),
    "memory_mb": doubles.map(abs),
    "cpu_percent": doubles.map(abs),
    "model_id": _hex(64),
}


class Colour(Enum):
    RED = "RED"
    BLUE = "BLUE"


class Inner(Part):
    number: fields.Count
    colour: Colour = Colour.RED
    when: fields.Time | None = None
    marks: dict[fields.Text, fields.Count] = Field(default_factory=dict)
    note: fields.Text = "none"


class Probe(Record):
    """Not an event: it has every kind of field that our contracts can say, nested too."""

    kafka_topic: ClassVar[str] = "tests.probe"

    id: fields.Name
    flag: bool = True
    share: float = 0.5
    small: fields.Small = 3
    count: fields.Count = 7
    wait: fields.Duration = timedelta(seconds=2)
    price: fields.Money = Decimal("1.5")
    kind: Literal["a", "b"] = "a"
    colour: Colour = Colour.BLUE
    inner: Inner
    maybe: Inner | None = None
    inners: list[Inner] = Field(default_factory=list)
    colours: list[Colour] = Field(default_factory=list)
    by_name: dict[fields.Text, Inner] = Field(default_factory=dict)
    labels: dict[fields.Text, fields.Text] = Field(default_factory=dict)
    ratios: dict[fields.Text, float] | None = None
    numbers: list[fields.Small] | None = None


def models() -> list[type[Record]]:
    """Every record with a contract, and the probe."""
    return [*records().values(), Probe]


@cache
def of(model: type[Part]) -> st.SearchStrategy[Any]:
    """Valid instances of a model."""
    hints = get_type_hints(model, include_extras=True)
    made = {
        name: _SPECIAL[name] if name in _SPECIAL else _value(hints[name])
        for name in model.model_fields
    }
    optional = {
        name: st.none() | made.pop(name) if inner_type(hints[name])[1] else made.pop(name)
        for name, info in model.model_fields.items()
        if not info.is_required()
    }
    return (
        st.fixed_dictionaries(made, optional=optional)
        .map(_decided_in_time)
        .map(_compiling)
        .map(model.model_validate)
    )


def _value(annotation: Any) -> st.SearchStrategy[Any]:  # noqa: PLR0911  one return a kind of type
    annotation = inner_type(annotation)[0]
    for known, strategy in _KNOWN:
        if annotation == known:
            return strategy
    kind = plain_type(annotation)
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Literal:
        return st.sampled_from(arguments)
    if origin is dict:
        return st.dictionaries(_value(arguments[0]), _value(arguments[1]), max_size=3)
    if origin is list:
        return st.lists(_value(arguments[0]), max_size=3)
    if issubclass(kind, Enum):
        return st.sampled_from(list(kind))
    if issubclass(kind, Part):
        return of(kind)
    return {bool: st.booleans(), float: doubles, int: counts, str: names}[kind]


def _decided_in_time(values: dict[str, Any]) -> dict[str, Any]:
    decided, cutoff = values.get("decision_time"), values.get("label_cutoff_time")
    if decided and cutoff:
        return values | dict(
            zip(("decision_time", "label_cutoff_time"), sorted((decided, cutoff)), strict=True)
        )
    return values


def _compiling(values: dict[str, Any]) -> dict[str, Any]:
    """What is to be a regular expression is one."""
    if values.get("is_regex"):
        return values | {"value": re.escape(values["value"])}
    return values


Project = Callable[[Any], Any]
_STRANGE: list[tuple[Any, Any]] = [
    ("int", -5),
    ("string", "new"),
    ("null", None),
    ("boolean", True),
    (["null", "double"], 2.5),
    ({"type": "map", "values": "long"}, {"a": 1}),
    ({"type": "array", "items": ["null", "string"]}, ["x", None]),
    ({"type": "long", "logicalType": "time-micros"}, 3),
    ({"type": "enum", "name": "StrangeEnum", "symbols": ["P", "Q"]}, "Q"),
    (
        {
            "type": "record",
            "name": "StrangeRecord",
            "fields": [{"name": "x", "type": "float"}, {"name": "y", "type": ["string", "null"]}],
        },
        {"x": 0.5, "y": None},
    ),
]


@st.composite
def writers(draw: st.DrawFn, model: type[Record]) -> tuple[dict[str, Any], Project]:
    """A schema older and newer than the contract at once, and what turns our values into its."""
    return _record(draw, contract(model), {}, strange=True)


def _record(
    draw: st.DrawFn, schema: dict[str, Any], named: dict[str, Project], *, strange: bool = False
) -> tuple[dict[str, Any], Project]:
    kept: list[dict[str, Any]] = []
    projects: dict[str, Project] = {}
    for field in schema["fields"]:
        goes = "default" in field and not names_a_type(field["type"])
        # a record without fields is refused: it stands in test_schemas_batch.py
        if goes and len(kept) > 0 and draw(st.integers(0, 3)) == 0:
            continue  # the older writer does not know it
        kind, projects[field["name"]] = _evolved(draw, field["type"], named)
        kept.append({"name": field["name"], "type": kind})
    chosen = draw(st.lists(st.sampled_from(range(len(_STRANGE))), unique=True)) if strange else []
    added = {f"new_{index}": _STRANGE[index] for index in chosen}
    kept += [{"name": name, "type": kind} for name, (kind, _) in added.items()]
    order = draw(st.permutations(kept)) if not _refers(schema) else kept

    def project(value: dict[str, Any]) -> dict[str, Any]:
        ours = {name: change(value[name]) for name, change in projects.items()}
        return ours | {name: sample for name, (_, sample) in added.items()}

    named[f"nilo.{schema['name']}"] = project
    return {**schema, "fields": order}, project


def _evolved(  # noqa: PLR0911  one return a kind of type
    draw: st.DrawFn, kind: Any, named: dict[str, Project]
) -> tuple[Any, Project]:
    if isinstance(kind, list):
        inner, project = _evolved(draw, kind[1], named)
        return ["null", inner], lambda value: None if value is None else project(value)
    if kind in ("long", "double") and draw(st.booleans()):
        return "int", lambda value: int(max(min(value, 2**31 - 1), -(2**31)))
    if not isinstance(kind, dict):
        return kind, named.get(kind, lambda value: value)
    if kind["type"] == "record":
        return _record(draw, kind, named)
    if kind["type"] == "enum" and draw(st.booleans()):
        return {**kind, "symbols": ["LATER", *kind["symbols"]]}, lambda value: "LATER"
    if kind["type"] == "array":
        items, each = _evolved(draw, kind["items"], named)
        return {**kind, "items": items}, lambda value: [each(item) for item in value]
    if kind["type"] == "map":
        inside, one = _evolved(draw, kind["values"], named)
        return {**kind, "values": inside}, lambda value: {k: one(v) for k, v in value.items()}
    return kind, lambda value: value


def names_a_type(kind: Any) -> bool:
    """Whether a field defines a named type, to which a later field may refer."""
    return '"name"' in repr(kind).replace("'", '"')


def _refers(schema: dict[str, Any]) -> bool:
    return "'nilo." in repr(schema["fields"])


def written(schema: dict[str, Any], project: Project, record: Record, schema_id: int) -> bytes:
    """The message value that the writer of `schema` would have sent for our record."""
    body = io.BytesIO()
    values = project(plain(record))
    fastavro.schemaless_writer(body, fastavro.parse_schema(schema), values)
    return frame(schema_id, body.getvalue())


def plain(record: Record) -> dict[str, Any]:
    """Our record as nested dicts of Avro values."""
    body = io.BytesIO()
    schema = fastavro.parse_schema(contract(type(record)))
    fastavro.schemaless_writer(body, schema, record.to_avro())
    values = fastavro.schemaless_reader(io.BytesIO(body.getvalue()), schema, None)
    assert isinstance(values, dict)
    return values
