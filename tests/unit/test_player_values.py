"""Units, zones and expressions: what a column's value becomes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import AwareDatetime

from nilo_producers import MappingError, parse_map
from nilo_producers.expressions import Context, parse_expression
from nilo_producers.values import EPOCH, MICROSECONDS, in_zone, to_duration, zone

START = datetime(2024, 1, 1, tzinfo=UTC)
CONTEXT = Context("calls.csv", ("a", "b", "odd:name"), START)
units = st.sampled_from(sorted(MICROSECONDS))


def value(text: str, kind: Any = str, **row: Any) -> Any:
    columns: dict[str, Any] = {"a": None, "b": None, "odd:name": None}
    return parse_expression("field", text, kind, CONTEXT).get(columns | row)


@given(st.integers(0, 10**9), units)
def test_a_whole_number_of_units_is_that_many_microseconds(count: int, unit: str) -> None:
    exact = Decimal(count) * MICROSECONDS[unit]

    assert to_duration(count, unit) == to_duration(str(count), unit)
    assert to_duration(count, unit) // timedelta(microseconds=1) == exact.quantize(
        Decimal(1), ROUND_HALF_EVEN
    )


@given(st.decimals(0, 10**6, places=6), units)
def test_a_float_means_its_decimal_digits(count: Decimal, unit: str) -> None:
    """Binary tails add nothing: 0.1 ms is 100 µs; off by half a microsecond at most."""
    got = Decimal(to_duration(float(count), unit) // timedelta(microseconds=1))

    assert abs(got - count * MICROSECONDS[unit]) <= Decimal("0.5")
    assert to_duration(str(count), unit) == to_duration(count, unit)


@given(st.integers(0, 4 * 10**12), st.sampled_from(["ms", "+ms"]))
def test_a_time_in_units_counts_from_1970_or_from_the_start(count: int, unit: str) -> None:
    origin = START if unit.startswith("+") else EPOCH

    assert value(f"a:{unit}", AwareDatetime, a=count) - origin == timedelta(milliseconds=count)


@given(st.datetimes(datetime(1971, 1, 1), datetime(2100, 1, 1)))
def test_a_zoned_time_keeps_its_wall_clock(local: datetime) -> None:
    time = in_zone(zone("America/New_York"))(local)

    assert time.replace(tzinfo=None) == local
    assert time.utcoffset() in (timedelta(hours=-4), timedelta(hours=-5))


def test_a_zone_knows_summer_and_winter() -> None:
    assert value("a:America/New_York", AwareDatetime, a="2013-10-07 04:00:00.464") == datetime(
        2013, 10, 7, 8, 0, 0, 464000, UTC
    )
    assert value("a:America/New_York", AwareDatetime, a="2013-12-07 04:00:00") == datetime(
        2013, 12, 7, 9, tzinfo=UTC
    )


def test_a_time_that_has_a_zone_keeps_it() -> None:
    assert value("a", AwareDatetime, a="2024-05-01T10:00:00+02:00") == datetime(
        2024, 5, 1, 8, tzinfo=UTC
    )


@pytest.mark.parametrize(
    ("text", "row", "expected"),
    [
        ("a", {"a": 5}, "5"),
        ("a", {"a": None}, None),
        ("a|b", {"b": "x"}, "x"),
        ("a|b", {"a": "y", "b": "x"}, "y"),
        ("a|b", {}, None),
        ("odd:name", {"odd:name": "z"}, "z"),
        ("'azure'", {}, "azure"),
        ('"it\'s"', {}, "it's"),
        ("'{a}-{b}'", {"a": 1, "b": "q"}, "1-q"),
        ("'{a}-{b}'", {"a": 1}, None),
        ("'{@file}'", {}, "calls"),
        ("a:length", {"a": "four"}, 4),
        ("a:length", {"a": [1, 2]}, 2),
        ("a:word", {"a": "  open x.py\n"}, "open"),
        ("a:word", {"a": " \n"}, None),
        ("a:sha256", {"a": ""}, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
    ],
)
def test_expressions(text: str, row: dict[str, Any], expected: Any) -> None:
    assert value(text, **row) == expected


@pytest.mark.parametrize(
    ("text", "kind", "way_out"),
    [
        ("c", str, "no column 'c'; it has a, b, odd:name; a fixed text goes in quotes"),
        ("'{c}'", str, "no column 'c'"),
        ("a|c", str, "no column 'c'"),
        ("a:hours", timedelta, "no conversion 'hours' for it; there are s, ms, us, ns"),
        ("a:ms", str, "no conversion 'ms'"),
        ("a:Mars/Olympus", AwareDatetime, "nor a time zone such as UTC"),
        ("a:../etc/passwd", AwareDatetime, "nor a time zone such as UTC"),
    ],
)
def test_what_cannot_be_read_is_refused_with_the_known_names(
    text: str, kind: Any, way_out: str
) -> None:
    with pytest.raises(MappingError) as caught:
        parse_expression("field", text, kind, CONTEXT)

    assert way_out in str(caught.value)


@pytest.mark.parametrize(
    ("text", "kind", "given", "named"),
    [
        ("a", timedelta, "12", "has no unit"),
        ("a:ms", timedelta, "fast", "'fast' is not a number"),
        ("a:ms", timedelta, "nan", "not a finite number"),
        ("a", AwareDatetime, "2024-01-01 00:00:00", "has no time zone"),
        ("a", AwareDatetime, 1700000000, "name its unit"),
        ("a:UTC", AwareDatetime, "yesterday", "Invalid isoformat"),
    ],
)
def test_a_value_that_does_not_fit_says_why(text: str, kind: Any, given: Any, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        value(text, kind, a=given)


def test_pairs_of_a_map_are_parted_by_commas_outside_quotes() -> None:
    assert parse_map("duration=ms:ms, model = name,source='a,b=c',attributes.x-y=\"q\"") == {
        "duration": "ms:ms",
        "model": "name",
        "source": "'a,b=c'",
        "attributes.x-y": '"q"',
    }
    assert parse_map("") == {}


@pytest.mark.parametrize("text", ["model", "model=", "=x", "model=a,,", "model=a,model=b"])
def test_a_map_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(MappingError):
        parse_map(text)
