"""Batches of foreign writers: what must be refused, and where the two decoders differ."""

from __future__ import annotations

import copy
import io
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import fastavro
import pytest

from nilo_schemas.batch import BatchDecoder, DecodedBatch
from nilo_schemas.codec import decode, encode
from nilo_schemas.contracts import contract
from nilo_schemas.errors import DecodeError, Reason, UnreachableError
from nilo_schemas.families import TradeEvent, VectorEvent
from nilo_schemas.framing import frame

EVENT = VectorEvent(type="vector.search", source="s", k=3, duration=timedelta(seconds=1))
ID = 7


def wire(schema: dict[str, Any], **values: Any) -> bytes:
    """What a foreign writer of `schema` sends, whose values no model has seen."""
    body = io.BytesIO()
    fastavro.schemaless_writer(body, fastavro.parse_schema(schema), EVENT.to_avro() | values)
    return frame(ID, body.getvalue())


def altered(name: str, kind: Any) -> dict[str, Any]:
    """VectorEvent's contract with another type for one field, or with one more field."""
    schema = copy.deepcopy(contract(VectorEvent))
    others = [field for field in schema["fields"] if field["name"] != name]
    schema["fields"] = [*others, {"name": name, "type": kind}]
    return schema


def batch(schema: Any, *values: bytes) -> DecodedBatch:
    return BatchDecoder(VectorEvent, lambda _: schema).decode(values)


def reasons(found: DecodedBatch) -> list[Reason]:
    return [message.reason for message in found.bad]


def single(schema: Any, value: bytes) -> Reason:
    with pytest.raises(DecodeError) as caught:
        decode(value, VectorEvent, lambda _: schema)
    return caught.value.reason


UNREADABLE = {
    "union of types": ["null", "string", "long"],
    "union of one": ["string"],
    "bytes": "bytes",
    "fixed": {"type": "fixed", "name": "F", "size": 4},
    "decimal": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2},
    "array of null": {"type": "array", "items": "null"},
    "map of unions": {"type": "map", "values": ["string", "long"]},
    "inside a record": {
        "type": "record",
        "name": "X",
        "fields": [{"name": "b", "type": ["null", "bytes"]}],
    },
    "record without fields": ["null", {"type": "record", "name": "X", "fields": []}],
    "recursive": ["null", "VectorEvent"],
    "undefined": "Nowhere",
}


@pytest.mark.parametrize("kind", UNREADABLE)
def test_a_schema_that_pyruhvro_would_panic_on_is_refused(kind: str) -> None:
    found = batch(altered("extra", UNREADABLE[kind]), frame(ID, b"\x02"), frame(ID, b"\x04"))
    assert reasons(found) == [Reason.INCOMPATIBLE] * 2
    assert f"schema {ID}" in found.bad[0].detail


def test_messages_of_a_schema_that_does_not_resolve_are_let_go() -> None:
    decoder = BatchDecoder(VectorEvent, lambda _: altered("k", "string"))
    values = [frame(ID, b"")]
    held = sys.getrefcount(values)
    for _ in range(3):
        assert reasons(decoder.decode(values)) == [Reason.INCOMPATIBLE]
    assert sys.getrefcount(values) == held


@pytest.mark.parametrize("schema", ["string", ["null", "string"], {"type": "record"}, None, 5, {}])
def test_a_schema_that_is_no_record_is_refused_both_ways(schema: Any) -> None:
    value = frame(ID, b"\x02a")
    assert reasons(batch(schema, value)) == [Reason.INCOMPATIBLE]
    assert single(schema, value) is Reason.INCOMPATIBLE


@pytest.mark.parametrize(
    ("logical", "value"),
    [
        ({"type": "string", "logicalType": "uuid"}, "0f0e0d0c-0000-4000-8000-000000000000"),
        ({"type": "int", "logicalType": "time-millis"}, 5),
        ({"type": "long", "logicalType": "local-timestamp-micros"}, 5),
        ({"type": "int", "logicalType": "date"}, 5),
    ],
)
def test_a_foreign_field_with_any_logical_type_is_read_past(logical: Any, value: Any) -> None:
    schema = altered("extra", logical)
    message = wire(schema, extra=value)
    assert decode(message, VectorEvent, lambda _: schema) == EVENT
    assert batch(schema, message).rows.to_pylist()[0]["k"] == 3


@pytest.mark.parametrize(
    ("name", "kind", "value"),
    [
        ("k", "long", 3),  # would narrow
        ("k", "string", "3"),
        ("results", "double", 1.0),
        ("results", "boolean", True),
        ("store", "long", 3),
        ("severity", "string", "INFO"),
        ("store", {"type": "enum", "name": "E", "symbols": ["A"]}, "A"),
        ("severity", {"type": "enum", "name": "Other", "symbols": ["INFO"]}, "INFO"),
        ("source", ["null", "string"], None),
        ("source", "null", None),
        ("attributes", {"type": "map", "values": "long"}, {"a": 1}),
    ],
)
def test_a_type_that_avro_does_not_convert_is_incompatible_both_ways(
    name: str, kind: Any, value: Any
) -> None:
    schema = altered(name, kind)
    message = wire(schema, **{name: value})
    assert reasons(batch(schema, message)) == [Reason.INCOMPATIBLE]
    assert single(schema, message) is Reason.INCOMPATIBLE


def test_a_number_is_no_time() -> None:
    schema = altered("time", "long")
    message = wire(schema, time=5)
    assert reasons(batch(schema, message)) == [Reason.INCOMPATIBLE]
    assert single(schema, message) is Reason.INVALID


def test_a_time_in_milliseconds_is_the_same_time() -> None:
    schema = altered("time", {"type": "long", "logicalType": "timestamp-millis"})
    moment = datetime(2026, 1, 1, 0, 0, 0, 5000, tzinfo=UTC)
    message = wire(schema, time=moment)
    assert decode(message, VectorEvent, lambda _: schema).time == moment
    assert batch(schema, message).rows.column("time")[0].as_py() == moment


def test_a_field_that_is_missing_without_default_is_named() -> None:
    schema = copy.deepcopy(contract(VectorEvent))
    schema["fields"] = [field for field in schema["fields"] if field["name"] != "source"]
    found = batch(schema, wire(schema))
    assert reasons(found) == [Reason.INCOMPATIBLE]
    assert "field source" in found.bad[0].detail


PLAIN_TIME = altered("time", "long")
HARMFUL: dict[str, tuple[dict[str, Any], dict[str, Any], Reason, str]] = {
    "text that is not UTF-8": (
        altered("store", ["null", "bytes"]),
        {"store": b"\xff"},
        Reason.CORRUPT,
        "",
    ),
    "NUL": (contract(VectorEvent), {"store": "a\0"}, Reason.INVALID, "store"),
    "NUL in a label": (
        contract(VectorEvent),
        {"attributes": {"a": "\0"}},
        Reason.INVALID,
        "attributes",
    ),
    "NaN": (contract(VectorEvent), {"top_score": float("nan")}, Reason.INVALID, "top_score"),
    "infinity": (contract(VectorEvent), {"top_score": float("inf")}, Reason.INVALID, "top_score"),
    "negative duration": (contract(VectorEvent), {"duration": -1}, Reason.INVALID, "duration"),
    "endless duration": (contract(VectorEvent), {"duration": 2**62}, Reason.INVALID, "duration"),
    "negative count": (contract(VectorEvent), {"results": -1}, Reason.INVALID, "results"),
    "sample rate 0": (contract(VectorEvent), {"sample_rate": 0}, Reason.INVALID, "sample_rate"),
    "year 300,000": (PLAIN_TIME, {"time": 2**63 - 1}, Reason.INVALID, "time"),
    "before year 1": (PLAIN_TIME, {"time": -(2**62)}, Reason.INVALID, "time"),
    "k over 32 bits": (altered("k", ["null", "long"]), {"k": 2**31}, Reason.CORRUPT, ""),
}


def claim(schema: dict[str, Any]) -> dict[str, Any]:
    """Our contract with its fields in the order of `schema`: what a lying writer says it wrote."""
    ours = {field["name"]: field for field in contract(VectorEvent)["fields"]}
    order = [field["name"] for field in schema["fields"]]
    return {**contract(VectorEvent), "fields": [ours[name] for name in order]}


@pytest.mark.parametrize("case", HARMFUL)
def test_a_value_that_no_store_can_hold_is_singled_out(case: str) -> None:
    """The models' rules do not run over batches, so these would reach the stores."""
    schema, values, reason, field = HARMFUL[case]
    claimed = claim(schema)
    good = wire(schema, store=None, time=0)
    found = batch(claimed, good, wire(schema, **({"store": None, "time": 0} | values)), good)
    assert [(bad.index, bad.reason) for bad in found.bad] == [(1, reason)]
    assert field in found.bad[0].detail
    assert found.indexes.tolist() == [0, 2]


def test_leakage_and_unknown_types_are_left_to_decode() -> None:
    """Rules between fields and sets of words are the producers': a batch passes them on."""
    later = datetime(2026, 1, 2, tzinfo=UTC)
    body = io.BytesIO()
    values = TradeEvent(type="trade.signal", source="bot", decision_time=later).to_avro()
    values |= {"label_cutoff_time": datetime(2026, 1, 1, tzinfo=UTC), "type": "trade.unheard"}
    fastavro.schemaless_writer(body, fastavro.parse_schema(contract(TradeEvent)), values)
    value = frame(ID, body.getvalue())
    found = BatchDecoder(TradeEvent, lambda _: contract(TradeEvent)).decode([value])
    assert found.bad == []
    with pytest.raises(DecodeError) as caught:
        decode(value, TradeEvent, lambda _: contract(TradeEvent))
    assert caught.value.reason is Reason.INVALID


def _only(kind: Any) -> dict[str, Any]:
    """A writer of our event with one field in front that the reader does not know."""
    schema = copy.deepcopy(contract(VectorEvent))
    schema["fields"].insert(0, {"name": "first", "type": kind})
    return schema


LENIENT = {
    "boolean 2": ("boolean", b"\x02"),
    "enum index -1": ({"type": "enum", "name": "E", "symbols": ["A", "B"]}, b"\x01"),
    "union branch -1": (["null", "string"], b"\x01\x02a"),
    "number of 11 bytes": ("long", b"\xff" * 10 + b"\x01"),
}


@pytest.mark.parametrize("case", LENIENT)
def test_fastavro_takes_corrupt_bytes_that_pyruhvro_refuses(case: str) -> None:
    """Known and told in docs/schemas.md: the batch way, which the stores hang on, is stricter."""
    kind, spoilt = LENIENT[case]
    value = frame(ID, spoilt + encode(EVENT, ID)[5:])
    assert reasons(batch(_only(kind), value)) == [Reason.CORRUPT]
    assert decode(value, VectorEvent, lambda _: _only(kind)) == EVENT


def test_trailing_bytes_pass_unnoticed_both_ways() -> None:
    value = encode(EVENT, ID) + b"more"
    assert batch(contract(VectorEvent), value).bad == []
    assert decode(value, VectorEvent, lambda _: contract(VectorEvent)) == EVENT


def test_order_is_kept_through_many_bad_ones() -> None:
    values: list[bytes | None] = []
    for number in range(200):
        event = EVENT.model_copy(update={"k": number})
        values.append(
            None if number % 3 == 0 else encode(event, number % 2)[: 9 if number % 7 == 0 else None]
        )
    found = BatchDecoder(VectorEvent, lambda _: contract(VectorEvent)).decode(values)
    left = [number for number in range(200) if number % 3 and number % 7]
    assert found.rows.column("k").to_pylist() == left == found.indexes.tolist()
    assert {bad.reason for bad in found.bad} == {Reason.EMPTY, Reason.CORRUPT}


def test_no_messages_give_no_rows_in_the_schema() -> None:
    decoder = BatchDecoder(VectorEvent, lambda _: contract(VectorEvent))
    assert decoder.decode([]).rows.schema == decoder.schema
    assert decoder.decode([None]).rows.num_rows == 0


def test_an_unreachable_registry_is_no_fault_of_the_messages() -> None:
    def down(_: int) -> Any:
        raise UnreachableError("registry does not answer")

    with pytest.raises(UnreachableError):
        BatchDecoder(VectorEvent, down).decode([encode(EVENT, ID)])
