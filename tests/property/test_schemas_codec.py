"""Both ways out of Avro, one event and a batch, give equal values for any writer's version."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nilo_schemas.batch import BatchDecoder, DecodedBatch
from nilo_schemas.codec import decode, encode
from nilo_schemas.contracts import contract
from nilo_schemas.errors import DecodeError, Reason
from nilo_schemas.framing import frame
from nilo_schemas.record import Record
from tests.property.strategies import SHORT, models, of, writers, written

OURS, UNKNOWN = 1, 99
every_record = pytest.mark.parametrize("model", models(), ids=lambda model: model.__name__)


def known(schemas: dict[int, Any]) -> Callable[[int], Any]:
    def look_up(schema_id: int) -> Any:
        if schema_id not in schemas:
            raise DecodeError(Reason.UNKNOWN_SCHEMA, f"no schema {schema_id}")
        return schemas[schema_id]

    return look_up


def rows_of(model: type[Record], batch: DecodedBatch) -> dict[int, Record]:
    """The rows as models, by the index of their message."""
    batch.rows.validate(full=True)
    rows = batch.rows.to_pylist(maps_as_pydicts="lossy")
    return dict(zip(batch.indexes.tolist(), (model.from_avro(row) for row in rows), strict=True))


def one_by_one(
    model: type[Record], values: list[bytes | None], schemas: dict[int, Any]
) -> tuple[dict[int, Record], dict[int, Reason]]:
    good, bad = {}, {}
    for index, value in enumerate(values):
        try:
            good[index] = decode(value, model, known(schemas))
        except DecodeError as error:
            bad[index] = error.reason
    return good, bad


@every_record
@SHORT
@given(data=st.data())
def test_a_record_comes_back_equal_both_ways(model: type[Record], data: st.DataObject) -> None:
    sent = data.draw(st.lists(of(model), max_size=6))
    values = [encode(record, OURS) for record in sent]
    look_up = known({OURS: contract(model)})
    assert [decode(value, model, look_up) for value in values] == sent
    batch = BatchDecoder(model, look_up).decode(values)
    assert batch.bad == []
    assert list(rows_of(model, batch).values()) == sent


@every_record
@SHORT
@given(data=st.data())
def test_versions_and_corrupt_messages_in_one_batch(
    model: type[Record], data: st.DataObject
) -> None:
    older, newer = data.draw(writers(model)), data.draw(writers(model))
    schemas = {OURS: contract(model), 2: older[0], 3: newer[0]}
    values: list[bytes | None] = []
    expected_bad: dict[int, Reason] = {}
    for record in data.draw(st.lists(of(model), min_size=1, max_size=6)):
        good = data.draw(
            st.sampled_from(
                [encode(record, OURS), written(*older, record, 2), written(*newer, record, 3)]
            )
        )
        cut = data.draw(st.integers(5, len(good) - 1))
        spoilt = data.draw(
            st.sampled_from(
                [
                    (good, None),
                    (good, None),
                    (None, Reason.EMPTY),
                    (b"", Reason.EMPTY),
                    (good[: cut % 5 or 1], Reason.FRAMING),
                    (b"\x01" + good[1:], Reason.FRAMING),
                    (frame(UNKNOWN, good[5:]), Reason.UNKNOWN_SCHEMA),
                    (good[:cut], Reason.CORRUPT),
                ]
            )
        )
        if spoilt[1] is not None:
            expected_bad[len(values)] = spoilt[1]
        values.append(spoilt[0])
    good_ones, bad_ones = one_by_one(model, values, schemas)
    batch = BatchDecoder(model, known(schemas)).decode(values)
    assert {message.index: message.reason for message in batch.bad} == expected_bad, batch.bad
    for index in set(expected_bad) - set(bad_ones):
        # fastavro does not see that the end is missing inside a field that the reader skips
        assert expected_bad[index] is Reason.CORRUPT
        assert values[index][4] != OURS  # type: ignore[index]  # a CORRUPT one has bytes
        del good_ones[index]
    assert set(bad_ones.items()) <= set(expected_bad.items())
    assert batch.indexes.tolist() == sorted(good_ones)
    assert rows_of(model, batch) == good_ones


@every_record
@SHORT
@given(data=st.data())
def test_mutated_bytes_never_raise_and_never_give_other_values(
    model: type[Record], data: st.DataObject
) -> None:
    schema, project = data.draw(writers(model))
    schemas = {OURS: contract(model), 2: schema}
    values: list[bytes | None] = []
    for record in data.draw(st.lists(of(model), min_size=1, max_size=5)):
        body = bytearray(
            data.draw(st.sampled_from([encode(record, OURS), written(schema, project, record, 2)]))
        )
        for _ in range(data.draw(st.integers(0, 4))):
            body[data.draw(st.integers(5, len(body) - 1))] = data.draw(st.integers(0, 255))
        values.append(bytes(body))
    values.append(frame(OURS, data.draw(st.binary(max_size=60))))
    good_ones, bad_ones = one_by_one(model, values, schemas)
    batch = BatchDecoder(model, known(schemas)).decode(values)
    refused = {message.index for message in batch.bad}
    assert sorted([*batch.indexes.tolist(), *refused]) == list(range(len(values)))
    rows = dict(
        zip(batch.indexes.tolist(), batch.rows.to_pylist(maps_as_pydicts="lossy"), strict=True)
    )
    for index, row in rows.items():
        # What the batch takes, decode takes with the same values, or a rule of the model refuses.
        if index in good_ones:
            assert model.from_avro(row) == good_ones[index]
        else:
            # CORRUPT: a broken block size of a field that is skipped is seen by fastavro alone.
            assert bad_ones[index] in {Reason.INVALID, Reason.CORRUPT}
