"""Labels that classifiers give: members are nodes, each with a mix of its own."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from tests.bench.incidents.scene import A_DAY, LABELS, Floats, Ints, Sizes
from tests.bench.incidents.usual import Draw, traffic, wander

NAMES = ("premise", "evidence", "rebuttal", "aside")
_SHARES = (0.4, 0.3, 0.2, 0.1)


class Labels:
    """The topic of judgements."""

    topic = LABELS

    def __init__(self, sizes: Sizes) -> None:
        rng = np.random.default_rng([sizes.seed, 5])
        many, windows = sizes.nodes, sizes.days * A_DAY
        self._seed = sizes.seed
        self.names = [f"node-{member:02}" for member in range(many)]
        events = sizes.labels * np.exp(rng.uniform(-0.5, 0.5, many))
        self._expected = traffic(windows, many) * events[:, None]
        levels = []
        for share in _SHARES:
            chance = np.sqrt((1 - share) / share / events)
            levels.append(share * wander(chance, windows, rng))
        # Cumulative shares of the labels: shape (labels, members, windows).
        self._below = np.cumsum(np.array(levels) / np.sum(levels, axis=0), axis=0)

    def draw(self, day: int) -> Draw:
        """The events of a day; the same each time."""
        rng = np.random.default_rng([self._seed, 6, day])
        draw = Draw.of(day, self._expected[:, day * A_DAY : (day + 1) * A_DAY], rng)
        below = self._below[:, :, draw.windows].reshape(len(NAMES), -1)
        place = rng.random(len(draw.cell))
        label = np.sum([place >= one[draw.cell] for one in below[:-1]], axis=0)
        draw.values = {"label": label}
        return draw

    def usual(self, name: str, member: int, windows: Ints) -> Floats:
        """The share of a label by its season: the same at all times, give or take a wander."""
        return np.full(len(windows), _SHARES[NAMES.index(name)])

    def apart(self, draw: Draw) -> dict[str, Floats]:
        """How far the share of each label in the windows of a day is from its season."""
        counts, labels = np.where(draw.counts, draw.counts, np.nan), draw.values["label"]
        return {
            name: draw.summed(labels == number) / counts - _SHARES[number]
            for number, name in enumerate(NAMES)
        }

    def columns(self, draw: Draw, rows: Ints) -> dict[str, pa.Array]:
        """Columns of the events in these rows."""
        return {
            "type": pa.repeat("simulacra.classified", len(rows)),
            "node": pa.array(self.names).take(pa.array(draw.cell[rows] // A_DAY)),
            "label": pa.array(NAMES).take(pa.array(draw.values["label"][rows])),
        }
