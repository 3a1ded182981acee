"""Decisions of trading bots, from signal to outcome."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from nilo_schemas.envelope import Event
from nilo_schemas.fields import Money, Name, Text, Time
from nilo_schemas.record import Part


class Market(Part):
    """The market as the decision saw it."""

    volatility_1h: float | None = None
    spread_bps: float | None = None
    liquidity_score: float | None = None
    trend_30m: float | None = None
    volume_vs_avg: float | None = None


class TradeEvent(Event):
    """A signal, a gate passed or not, an execution, its outcome, or a trade on paper."""

    kafka_topic: ClassVar[str] = "events.trade"

    type: Literal["trade.signal", "trade.gate", "trade.execution", "trade.outcome", "trade.shadow"]
    symbol: Name | None = None
    side: Literal["BUY", "SELL"] | None = None
    quantity: float | None = None
    price: Money | None = None
    decision_time: Time | None = None
    label_cutoff_time: Time | None = Field(
        default=None, description="from here on data may serve as label, not as input"
    )
    gate: Name | None = None
    gate_passed: bool | None = None
    gate_value: float | None = None
    gate_threshold: float | None = None
    reason: Text | None = None
    regime: Text | None = None
    market: Market | None = None
    pnl: Money | None = None
    order_id: Name | None = None

    @model_validator(mode="after")
    def _no_leakage(self) -> Self:
        decided, cutoff = self.decision_time, self.label_cutoff_time
        if decided is not None and cutoff is not None and decided > cutoff:
            raise ValueError(
                f"decision_time {decided.isoformat()} is after label_cutoff_time "
                f"{cutoff.isoformat()}: the future would leak into the decision"
            )
        return self
