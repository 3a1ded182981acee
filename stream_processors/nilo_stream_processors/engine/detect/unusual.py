"""Rules on what is unusual for a series: anomalies of an aggregate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from nilo_schemas.catalogue import Metric
from nilo_schemas.results import SourceRange
from nilo_schemas.rules import Rule
from nilo_stream_processors.engine.anomaly import (
    THRESHOLD,
    WARM_UP,
    Detectors,
    Judged,
    Shape,
    phrase,
)
from nilo_stream_processors.engine.arrays import Bools, Floats, Ints, Texts
from nilo_stream_processors.engine.detect.closed import ZERO_WHEN_ABSENT, Closed
from nilo_stream_processors.engine.detect.feed import Feed, Step
from nilo_stream_processors.engine.detect.keyed import Keyed
from nilo_stream_processors.engine.detect.scales import Scale, scale_of
from nilo_stream_processors.engine.detect.threshold import unit_of
from nilo_stream_processors.engine.detect.verdicts import Facts, Stored, Verdicts, number
from nilo_stream_processors.engine.detect.wording import told

# An anomaly goes on until the series is back within so many of its usual deviations of what was
# expected before it, or has stayed away for so many windows: then that is how it is now.
BACK_WITHIN, ACCEPTED_AFTER = 2.0, 36
_SIGNS = {"up": (1,), "down": (-1,), "both": (1, -1)}


class Anomaly:
    """`anomaly: p95`: a score by what the series has been, in one configuration for all series."""

    def __init__(self, rule: Rule, metric: Metric, feed: Feed) -> None:
        self.labels, self._feed = metric.dimensions, feed
        self._aggregate, self._least = rule.anomaly or "", rule.min_count
        self._unit, self._signs = unit_of(self._aggregate, metric), _SIGNS[rule.direction]
        self._fills = self._aggregate in ZERO_WHEN_ABSENT
        self._scale = scale_of(self._aggregate)
        self.absent_is_clear = False
        self._detectors = Detectors(feed.hop)
        self._dirty: set[int] = set()
        # Of each series that is unusual: since when, and what was expected of it before.
        self._away = Keyed()

    def judge(self, step: Step, others: Callable[[str], Closed]) -> Verdicts:
        """Score the windows; of a count, a series without a window has 0."""
        slots, values, rows = self._points(step)
        starts = np.full(len(slots), step.end - self._feed.length)
        found = _unscaled(self._detectors.take(slots, starts, self._scale.to(values)), self._scale)
        self._dirty.update(slots.tolist())
        keys = self._feed.texts(slots)
        breach = found.ready & (found.score >= THRESHOLD)
        sides = np.sign(values - found.expected)
        # Of a series without a window nothing can be too much, whatever was expected of it.
        silent = np.arange(len(slots)) >= len(rows)
        breach &= np.isin(sides, self._signs) & (~silent | (sides < 0))
        self._note(keys, found, breach, step.end)
        self._hold(keys, values, breach, step.end)

        def facts(place: int) -> Facts:
            row = rows.get(int(slots[place]))
            sources = [] if row is None else step.rows.sources(row)
            return self._facts(
                keys[place],
                float(values[place]),
                _told(found, place, step.end - self._feed.length),
                sources,
            )

        return Verdicts(keys, breach, ~breach, facts, found.score)

    def _points(self, step: Step) -> tuple[Ints, Floats, dict[int, int]]:
        """The series to score, their values, and where their windows are in the step."""
        values = step.rows.values(self._aggregate)
        kept = np.flatnonzero(~np.isnan(values) & (step.rows.count >= self._least))
        slots, values = step.slots[kept], values[kept]
        rows = dict(zip(slots.tolist(), kept.tolist(), strict=True))
        if self._fills:
            missing = self._feed.absent(step)
            slots = np.concatenate([slots, missing])
            values = np.concatenate([values, np.zeros(len(missing))])
        return slots, values, rows

    def _note(self, keys: Texts, found: Judged, breach: Bools, end: int) -> None:
        """Remember what was expected before the anomaly: the detector gets used to it."""
        for place in np.flatnonzero(breach).tolist():
            if keys[place] not in self._away.values:
                self._away.values[keys[place]] = {
                    "since": end,
                    **_told(found, place, end - self._feed.length),
                }
                self._away.changed(keys[place])

    def _hold(self, keys: Texts, values: Floats, breach: Bools, end: int) -> None:
        """What is still away from what was expected then is still an anomaly, for a while."""
        if not self._away.values:
            return
        place_of = {key: place for place, key in enumerate(keys.tolist())}
        for key, held in list(self._away.values.items()):
            place = place_of.get(key)
            if place is None:
                continue
            apart = abs(float(values[place]) - held["expected"])
            lasts = end - held["since"] < ACCEPTED_AFTER * self._feed.hop
            if apart > BACK_WITHIN * held["spread"] and lasts:
                breach[place] = True
            elif not breach[place]:
                self._away.drop(key)

    def _facts(
        self, key: str, value: float, seen: dict[str, Any], sources: list[SourceRange]
    ) -> Facts:
        held = self._away.values.get(key, seen)
        expected, spread, score = held["expected"], held["spread"], held["score"]
        kind = phrase(Shape(held["shape"]), held["start"])
        return Facts(
            f"{self._aggregate} {told(value, self._unit)} where {told(expected, self._unit)} "
            f"± {told(spread, self._unit)} was expected: {kind}; score {score:.3f} "
            f"(bound: {THRESHOLD:.3f})",
            self._unit,
            value=number(value),
            threshold=THRESHOLD,
            score=score,
            baseline=number(expected),
            spread=number(spread),
            figures={"windows_seen": float(seen["seen"]), "warm_up": float(WARM_UP)},
            sources=sources,
        )

    def due(self) -> int | None:
        """Of a count, no events are a value as well."""
        return self._feed.next_absent() if self._fills else None

    def forget(self, series: Texts) -> None:
        """Forget what series were."""
        slots = self._feed.numbers.find(series)
        self._detectors.forget(slots)
        self._dirty.difference_update(slots.tolist())
        for key in series.tolist():
            if key in self._away.values:
                self._away.drop(key)

    def stored(self, *, all_of_it: bool) -> Stored:
        """The detectors of the series that changed, or of all; and what is unusual."""
        slots = np.array(sorted(self._dirty), np.int64)
        if all_of_it:
            slots = self._feed.known()
        self._dirty.clear()
        if len(slots):
            batch = self._detectors.stored(slots)
            series = pa.array(self._feed.texts(slots).tolist(), pa.string())
            yield batch.append_column("series", series)
        yield from self._away.stored(all_of_it=all_of_it)

    def restore(self, batch: pa.RecordBatch) -> None:
        """Put back what was stored."""
        if "series" not in batch.schema.names:
            self._away.restore(batch)
            return
        slots = self._feed.slots_of(np.asarray(batch["series"].to_pylist(), np.object_))
        self._detectors.restore(slots, batch.drop_columns(["series"]))


def _unscaled(found: Judged, scale: Scale) -> Judged:
    """What was expected, and how far from it values usually lie, in units of the values."""
    low, high = (scale.back(found.expected + side * found.spread) for side in (-1, 1))
    return replace(found, expected=scale.back(found.expected), spread=(high - low) / 2)


def _told(found: Judged, place: int, start: int) -> dict[str, Any]:
    """What a detector says of one series, as JSON has it."""
    return {
        "score": float(found.score[place]),
        "expected": float(found.expected[place]),
        "spread": float(found.spread[place]),
        "shape": int(found.shape[place]),
        "seen": int(found.seen[place]),
        "start": start,
    }
