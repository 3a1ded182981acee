"""A made-up fleet of language models: seeded, so that a run can be repeated to the byte."""

from __future__ import annotations

import math
import random
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Literal

from nilo_producers.errors import ProducerError
from nilo_schemas.families import LlmEvent

SOURCE = "fleet-simulation"
_AGENTS = tuple(f"agent-{number:02}" for number in range(1, 41))
_REGIONS = ("north", "south", "east")
_ERRORS = ("timeout", "rate_limit_exceeded", "server_error")
_OPEN_SESSIONS = 200
_SESSION_ENDS = 0.08
_FAILS = 0.03
_AFTER_FAILURE = ("ERROR", "RETRIED", "FALLBACK")
_AFTER_FAILURE_SHARES = (0.5, 0.8, 1.0)  # cumulative
_RHYTHM = 0.5
_BUSIEST_HOUR = 15
Status = Literal["OK", "ERROR", "RETRIED", "FALLBACK"]


@dataclass(frozen=True)
class FleetModel:
    """A made-up model: median latency, token counts, and prices in nano-dollars per token."""

    provider: str
    name: str
    share: float
    seconds: float
    spread: float
    input_tokens: float
    output_tokens: float
    input_price: int
    output_price: int


MODELS = (
    FleetModel("borealis", "atlas-large", 0.35, 1.8, 0.45, 1400, 220, 3000, 15000),
    FleetModel("borealis", "atlas-small", 0.30, 0.6, 0.40, 900, 160, 400, 1600),
    FleetModel("tidewater", "heron-2", 0.20, 1.1, 0.50, 1100, 260, 1000, 5000),
    FleetModel("tidewater", "heron-2-mini", 0.10, 0.35, 0.35, 600, 90, 150, 600),
    FleetModel("quarry", "granite-reason", 0.05, 6.0, 0.60, 2500, 900, 8000, 32000),
)


@dataclass(frozen=True)
class Incident:
    """One model slows down and fails: from `begins` on, for `lasts` seconds."""

    model: str = "atlas-large"
    begins: float = 10.0
    lasts: float = 10.0
    slowdown: float = 5.0
    failure_rate: float = 0.3

    def holds(self, model: str, elapsed: float) -> bool:
        """Whether it bears on a call of `model`, `elapsed` seconds after the start."""
        return model == self.model and self.begins <= elapsed < self.begins + self.lasts


def simulate(
    seed: int, rate: float, seconds: float, start: datetime, incident: Incident | None = None
) -> Iterator[LlmEvent]:
    """Calls of models in the order of their times, in [start, start + seconds).

    The same arguments give the same events, ids included: another run needs another start or
    seed. Latency and token counts are log-normal, arrivals are Poisson, and the rate swings by
    half over the day (most at 15 h UTC) around its mean.

    Args:
        seed: of all that is random.
        rate: events per second, as a mean over the day.
        seconds: how long the fleet runs, in event time.
        start: event time of the beginning; needs a time zone.
        incident: what goes wrong, and when.

    Raises:
        ProducerError: the incident names no model of the fleet, `start` has no time zone, or
            `rate` is not above zero.
    """
    _check(rate, start, incident)
    rng = random.Random(seed)  # noqa: S311  a simulation is to be repeatable, not secret
    return _events(_Fleet(rng, incident), rng, rate, seconds, start.astimezone(UTC))


def _check(rate: float, start: datetime, incident: Incident | None) -> None:
    known = [model.name for model in MODELS]
    if incident and incident.model not in known:
        raise ProducerError(f"no model {incident.model!r} in the fleet; it has {', '.join(known)}")
    if start.tzinfo is None:
        raise ProducerError(f"start {start.isoformat()} has no time zone; add one, such as UTC")
    if not rate > 0:
        raise ProducerError(f"rate {rate:g} is not above zero events per second")


def daily_factor(time: datetime) -> float:
    """How busy the hour of `time` is: 1 is the mean of a day."""
    hour = time.hour + time.minute / 60
    return 1 + _RHYTHM * math.cos((hour - _BUSIEST_HOUR) * math.pi / 12)


def _events(
    fleet: _Fleet, rng: random.Random, rate: float, seconds: float, start: datetime
) -> Iterator[LlmEvent]:
    elapsed, now = 0.0, start
    while True:
        elapsed += rng.expovariate(rate * daily_factor(now))
        if elapsed >= seconds:
            return
        now = start + timedelta(seconds=elapsed)
        yield fleet.call(now, elapsed)


class _Fleet:
    def __init__(self, rng: random.Random, incident: Incident | None) -> None:
        self._rng = rng
        self._incident = incident
        self._shares = [sum(m.share for m in MODELS[: i + 1]) for i in range(len(MODELS))]
        self._sessions = [self._new_session() for _ in range(_OPEN_SESSIONS)]

    def call(self, time: datetime, elapsed: float) -> LlmEvent:
        asked = self._rng.choices(MODELS, cum_weights=self._shares)[0]
        ill = self._incident is not None and self._incident.holds(asked.name, elapsed)
        status = self._status(ill)
        model = self._another(asked) if status == "FALLBACK" else asked
        agent, session = self._session()
        return LlmEvent(
            id=self._id(time),
            type="llm.call",
            time=time,
            source=SOURCE,
            subject=agent,
            session_id=session,
            provider=model.provider,
            model=model.name,
            operation="chat",
            status=status,
            error_type=self._rng.choice(_ERRORS) if status == "ERROR" else None,
            attempt=1 if status in ("OK", "ERROR") else 2,
            fallback_from=asked.name if model is not asked else None,
            attributes={"region": self._rng.choice(_REGIONS)},
            **self._measures(model, status, self._slowdown(ill)),
        )

    def _status(self, ill: bool) -> Status:
        """An incident's failures are final; others are mostly healed by a retry or a fallback."""
        if ill and self._incident and self._rng.random() < self._incident.failure_rate:
            return "ERROR"
        if self._rng.random() >= _FAILS:
            return "OK"
        return self._rng.choices(_AFTER_FAILURE, cum_weights=_AFTER_FAILURE_SHARES)[0]  # type: ignore[return-value]  # choices widens the literals to str

    def _another(self, asked: FleetModel) -> FleetModel:
        return self._rng.choice([model for model in MODELS if model is not asked])

    def _slowdown(self, ill: bool) -> float:
        return self._incident.slowdown if ill and self._incident else 1.0

    def _measures(self, model: FleetModel, status: Status, slowdown: float) -> dict[str, Any]:
        asked = max(1, round(self._rng.lognormvariate(math.log(model.input_tokens), 0.8)))
        answered = max(1, round(self._rng.lognormvariate(math.log(model.output_tokens), 0.7)))
        seconds = slowdown * self._rng.lognormvariate(math.log(model.seconds), model.spread)
        first = seconds * self._rng.uniform(0.1, 0.4)
        if status == "ERROR":
            answered = 0
        nanos = asked * model.input_price + answered * model.output_price
        return {
            "duration": timedelta(seconds=seconds),
            "time_to_first_token": timedelta(seconds=first) if answered else None,
            "input_tokens": asked,
            "output_tokens": answered,
            "cost": Decimal(nanos).scaleb(-9),
        }

    def _session(self) -> tuple[str, str]:
        place = self._rng.randrange(_OPEN_SESSIONS)
        if self._rng.random() < _SESSION_ENDS:
            self._sessions[place] = self._new_session()
        return self._sessions[place]

    def _new_session(self) -> tuple[str, str]:
        return self._rng.choice(_AGENTS), f"s-{self._rng.getrandbits(40):010x}"

    def _id(self, time: datetime) -> str:
        """A UUIDv7 of the event's own time, so that a seed gives the same ids again."""
        bits = int(time.timestamp() * 1000) << 80 | 7 << 76 | self._rng.getrandbits(76)
        return str(uuid.UUID(int=bits & ~(3 << 62) | 2 << 62))
