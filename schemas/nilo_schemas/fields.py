"""The field types of our records: what Python shows and what Avro carries.

Durations are timedelta and travel as `long` microseconds; money is Decimal dollars and travels
as `long` nano-dollars. Integers add up exactly, whatever the order.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import Annotated, Any

from pydantic import AfterValidator, AwareDatetime, Field, StringConstraints

MICROSECOND = timedelta(microseconds=1)
NANO = Decimal("1e-9")
_LONG_MAX = 2**63 - 1
_INT_MAX = 2**31 - 1
_LONGEST = timedelta(days=36_525)
_MOST_MONEY = Decimal(9_000_000_000)
# Of our own: a program that lowers the precision of its decimal context must not change our money.
_EXACT = Context(prec=40)


class AvroInt:
    """Marks an integer that is Avro `int` (32 bits); others are `long`."""


def _utc(time: datetime) -> datetime:
    try:
        return time.astimezone(UTC)
    except OverflowError:
        raise ValueError(f"{time.isoformat()} is outside the years 1 to 9999 in UTC") from None


def _whole_nanos(amount: Decimal) -> Decimal:
    return amount.quantize(NANO, ROUND_HALF_EVEN, _EXACT).normalize(_EXACT)


def duration_to_long(value: timedelta) -> int:
    """Microseconds of a duration."""
    return value // MICROSECOND


def duration_from_long(value: int) -> timedelta:
    """The duration of so many microseconds."""
    return timedelta(microseconds=value)


def time_to_avro(value: datetime) -> datetime:
    """The time itself: the Avro library makes the microseconds."""
    return value


def time_from_avro(value: Any) -> datetime:
    """The time that the Avro library made; ValueError for a bare number, whose unit is unknown."""
    if not isinstance(value, datetime):
        raise ValueError(f"{value!r} is no timestamp in the writer's schema")  # noqa: TRY004  pydantic's errors are ValueErrors too
    return value


def money_to_long(value: Decimal) -> int:
    """Nano-dollars of an amount in dollars."""
    return int(value.scaleb(9, _EXACT))


def money_from_long(value: int) -> Decimal:
    """The amount in dollars of so many nano-dollars."""
    return Decimal(value).scaleb(-9, _EXACT)


def _hex(digits: int) -> Any:
    return StringConstraints(pattern=rf"^[0-9a-f]{{{digits}}}$")


def _not_all_zero(value: str) -> str:
    if not value.strip("0"):
        raise ValueError("an id of zeros only means no id (W3C trace context)")
    return value


# PostgreSQL's text cannot hold NUL, so no string of ours may.
Text = Annotated[str, StringConstraints(pattern=r"^[^\x00]*$")]
Name = Annotated[str, StringConstraints(pattern=r"^[^\x00]+$", max_length=1024)]
Time = Annotated[AwareDatetime, AfterValidator(_utc)]
Duration = Annotated[timedelta, Field(ge=timedelta(0), le=_LONGEST)]
Money = Annotated[
    Decimal,
    Field(ge=-_MOST_MONEY, le=_MOST_MONEY, allow_inf_nan=False),
    AfterValidator(_whole_nanos),
]
Cost = Annotated[Money, Field(ge=Decimal(0))]
Count = Annotated[int, Field(ge=0, le=_LONG_MAX)]
Small = Annotated[int, Field(ge=0, le=_INT_MAX), AvroInt()]
Share = Annotated[float, Field(ge=0, le=1)]
TraceId = Annotated[str, _hex(32), AfterValidator(_not_all_zero)]
SpanId = Annotated[str, _hex(16), AfterValidator(_not_all_zero)]
