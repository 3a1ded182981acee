"""Calls of models as they usually are: members are models, made after those of the fleet."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from nilo_producers.fleet import MODELS
from tests.bench.incidents.scene import A_DAY, CALLS, Floats, Ints, Sizes
from tests.bench.incidents.usual import Draw, around_1, traffic, wander

# Latency rises by so much of what traffic does.
_SLOWER_WHEN_BUSY = 0.3
_FAILS = (0.05, 0.08, 0.1)
# Of the tokens that models of the fleet read and write.
_READ, _WRITTEN = 0.8, 0.7


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
        read = np.array([m.input_tokens * m.input_price for m in models]) / 1e9
        written = np.array([m.output_tokens * m.output_price for m in models]) / 1e9
        dollars = read + written
        self._read = read / dollars
        fails = np.array([_FAILS[member % len(_FAILS)] for member in range(many)])
        mean = {
            "duration": seconds[:, None] * (1 + _SLOWER_WHEN_BUSY * (busy - 1)),
            "error_ratio": np.broadcast_to(fails[:, None], busy.shape),
            "cost": np.broadcast_to(dollars[:, None], busy.shape),
        }
        self._usual = mean | {"cost": mean["cost"] * self._expected}
        of_tokens = self._read**2 * np.expm1(_READ**2)
        of_tokens += (1 - self._read) ** 2 * np.expm1(_WRITTEN**2)
        # Squares of the coefficients of variation of one event; of the sum also of their number.
        chance = {
            "duration": np.expm1(self._spread**2),
            "error_ratio": (1 - fails) / fails,
            "cost": 1 + of_tokens,
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
        spread, read = self._spread[cell // A_DAY], self._read[cell // A_DAY]
        tokens = read * around_1(_READ, many, rng) + (1 - read) * around_1(_WRITTEN, many, rng)
        draw.values = {
            "duration": level["duration"] * around_1(spread, many, rng),
            "failed": rng.random(many) < level["error_ratio"],
            "cost": level["cost"] * tokens,
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
