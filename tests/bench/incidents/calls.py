"""Calls of models as they usually are: members are models, made after those of the fleet."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from nilo_producers.fleet import MODELS
from tests.bench.incidents.scene import A_DAY, CALLS, Floats, Ints, Sizes
from tests.bench.incidents.usual import Draw, around_1, traffic, wander

# Latency rises by so much of what traffic does.
_SLOWER_WHEN_BUSY = 0.3
_FAILS = (0.03, 0.05, 0.08)
_TOKENS_SPREAD = 0.8


class Calls:
    """The topic of calls."""

    topic = CALLS

    def __init__(self, sizes: Sizes) -> None:
        rng = np.random.default_rng([sizes.seed, 2])
        many, windows = sizes.models, sizes.days * A_DAY
        models = [MODELS[member % len(MODELS)] for member in range(many)]
        self._seed = sizes.seed
        self.names = [f"{model.name}-{member:02}" for member, model in enumerate(models)]
        events = sizes.calls * np.exp(rng.uniform(-0.5, 0.5, many))
        busy = traffic(windows, many)
        self._expected = busy * events[:, None]
        self._spread = np.array([model.spread for model in models])
        seconds = np.array([model.seconds for model in models]) * np.exp(self._spread**2 / 2)
        nanos = [m.input_tokens * m.input_price + m.output_tokens * m.output_price for m in models]
        dollars = np.array(nanos) / 1e9
        fails = np.array([_FAILS[member % len(_FAILS)] for member in range(many)])
        mean = {
            "duration": seconds[:, None] * (1 + _SLOWER_WHEN_BUSY * (busy - 1)),
            "error_ratio": np.broadcast_to(fails[:, None], busy.shape),
            "cost": np.broadcast_to(dollars[:, None], busy.shape),
        }
        self._usual = mean | {"cost": mean["cost"] * self._expected}
        # Squares of the coefficients of variation of one event.
        chance = {
            "duration": np.expm1(self._spread**2),
            "error_ratio": (1 - fails) / fails,
            "cost": np.full(many, np.exp(_TOKENS_SPREAD**2)),
        }
        self._level = {
            name: mean[name] * wander(np.sqrt(chance[name] / events), windows, rng) for name in mean
        }

    def draw(self, day: int) -> Draw:
        """The events of a day; the same each time."""
        rng = np.random.default_rng([self._seed, 3, day])
        draw = Draw.of(day, self._expected[:, day * A_DAY : (day + 1) * A_DAY], rng)
        cell, many = draw.cell, len(draw.cell)
        level = {name: each[:, draw.windows].ravel()[cell] for name, each in self._level.items()}
        spread = self._spread[cell // A_DAY]
        draw.values = {
            "duration": level["duration"] * around_1(spread, many, rng),
            "failed": rng.random(many) < level["error_ratio"],
            "cost": level["cost"] * around_1(_TOKENS_SPREAD, many, rng),
        }
        return draw

    def usual(self, name: str, member: int, windows: Ints) -> Floats:
        """What a member's aggregate is by its season in these windows."""
        found: Floats = self._usual[name][member, windows]
        return found

    def apart(self, draw: Draw) -> dict[str, Floats]:
        """How far each aggregate of the windows of a day is from its season; NaN without events."""
        counts = np.where(draw.counts, draw.counts, np.nan)
        found = {
            "duration": draw.summed(draw.values["duration"]) / counts,
            "error_ratio": draw.summed(draw.values["failed"]) / counts,
            "cost": draw.summed(draw.values["cost"]),
        }
        return {name: each - self._usual[name][:, draw.windows] for name, each in found.items()}

    def columns(self, draw: Draw, rows: Ints) -> dict[str, pa.Array]:
        """Columns of the events in these rows."""
        models, values = pa.array(self.names), draw.values
        micros, nanos = 1e6 * values["duration"][rows], 1e9 * values["cost"][rows]
        states = pa.array(["OK", "ERROR"]).take(pa.array(values["failed"][rows].astype(np.int8)))
        return {
            "type": pa.repeat("llm.call", len(rows)),
            "model": models.take(pa.array(draw.cell[rows] // A_DAY)),
            "status": states,
            "duration": pa.array(micros.astype(np.int64)),
            "cost": pa.array(nanos.astype(np.int64)),
        }
