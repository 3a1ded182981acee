"""A replay against what was produced live, or against another replay."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from nilo_cli.replays import cells
from nilo_cli.replays.cells import Cells, Compared
from nilo_cli.replays.live import Live, Reach, live_alerts, live_reach, live_windows
from nilo_cli.replays.settled import passed
from nilo_cli.times import time_of
from nilo_consumers.window_rows import Kind
from nilo_schemas.alerts import Alert
from nilo_schemas.catalogue import Catalogue
from nilo_schemas.catalogue_files import load_catalogue
from nilo_schemas.settings import Settings
from nilo_stream_processors.replay.folder import Folder
from nilo_stream_processors.replay.manifest import Manifest, Range

# Of an alert: which events show it is looked up live, by hand who has it.
_NOT_COMPARED = frozenset({"samples", "acknowledged_by"})


@dataclass(frozen=True)
class AlertChange:
    """A transition that only one has, or that differs: what of it."""

    kind: cells.Kind
    id: str
    rule: str
    labels: dict[str, str]
    state: str
    time: datetime
    fields: dict[str, tuple[Any, Any]]

    def to_json(self) -> dict[str, Any]:
        """As it is written for programs."""
        return vars(self) | {"time": self.time.isoformat()}


@dataclass
class Difference:
    """What differs between two results.

    Attributes:
        windows: of cells.
        alerts: transitions that differ; `alerts_equal` of them do not.
        cut: cells that were not compared, because not all of their events are in the range.
        beyond: transitions that were not compared, because the replay or the processors have not
            come to them.
    """

    windows: Compared
    alerts: list[AlertChange] = field(default_factory=list)
    alerts_equal: int = 0
    cut: int = 0
    beyond: int = 0

    @property
    def is_equal(self) -> bool:
        """Whether nothing differs."""
        return not self.windows.differ and not self.alerts

    def summary(self) -> dict[str, Any]:
        """The counts, for programs."""
        counted = self.windows
        return {
            "equal": self.is_equal,
            "windows": {
                "equal": counted.equal, "changed": counted.changed, "added": counted.added,
                "removed": counted.removed, "not_compared": self.cut,
            },
            "alerts": {
                "equal": self.alerts_equal, "differ": len(self.alerts), "not_compared": self.beyond,
            },
        }  # fmt: skip


def against_live(settings: Settings, folder: Folder, store: Live) -> Difference:
    """What today's code makes of the range, against what was made of it live.

    Raises:
        UnreachableError: no broker answers.
        StoreError: the store does not answer.
    """
    manifest = folder.manifest()
    catalogue = Catalogue.model_validate(manifest.catalogue)
    asked = manifest.range
    since, until = times(asked)
    kinds = kinds_of(settings, catalogue, asked.where)
    found = live_windows(settings, store, kinds, since=since, until=until)
    old = Cells.of(_of(batch, asked.where) for batch in found)
    new = Cells.of(_of(batch, asked.where) for batch in folder.windows())
    reached = live_reach(settings)
    old, new, cut = comparable(reached, manifest, old, new)
    compared = cells.compare(old, new)
    if asked.where:  # what rules say of some events alone nobody has said live
        return _difference(compared, cut, [], [])
    found_live = live_alerts(settings, catalogue.rules)
    live = [each for each in found_live if since is None or each.time > since]
    both = live, list(folder.alerts())
    ends = _compared_until(settings, folder, reached)
    mine, theirs = ([each for each in some if _is_by(each, catalogue, ends)] for some in both)
    beyond = {each.id for some in both for each in some} - {each.id for each in mine + theirs}
    return _difference(compared, cut, mine, theirs, len(beyond))


def times(asked: Range) -> tuple[datetime | None, datetime | None]:
    """The bounds of a range."""
    since, until = (None if t is None else time_of(t) for t in (asked.since, asked.until))
    return since, until


def kinds_of(settings: Settings, catalogue: Catalogue, where: Mapping[str, str]) -> set[Kind]:
    """Metrics and lengths of windows, as the replay has them and as they are live.

    Those whose windows are not of the wanted events alone are left out.
    """
    live = load_catalogue(settings.catalogue).metrics
    return {
        (name, window.text)
        for name, metric in catalogue.metrics.items()
        if set(where) <= {*metric.dimensions}
        for each in (metric, live.get(name, metric))
        for window in each.resolutions()
    }


def _of(batch: pa.RecordBatch, where: Mapping[str, str]) -> pa.RecordBatch:
    for name, value in where.items():
        label = pc.map_lookup(batch["dimensions"], pa.scalar(name), "first")
        batch = batch.filter(pc.fill_null(pc.equal(label, value), False))
    return batch


def between(old: Folder, new: Folder) -> Difference:
    """What the second replay makes of its range, against the first one."""
    found = cells.compare(Cells.of(old.windows()), Cells.of(new.windows()))
    return _difference(found, 0, list(old.alerts()), list(new.alerts()))


def comparable(
    reached: Reach, manifest: Manifest, old: Cells, new: Cells
) -> tuple[Cells, Cells, int]:
    """The cells whose events are all in the range, and that the processors have come to.

    Also how many there are of others. `reached` is up to where these are, see `live_reach`.
    """
    ends = {each.source: (each.first, each.stop) for each in manifest.range.parts()}
    inside = old.within(ends)
    cut = old.take(~inside)
    done = {place: (0, min(stop, reached.get(place, 0))) for place, (_, stop) in ends.items()}
    whole = new.within(done) & ~np.isin(new.keys, cut.keys) & ~cells.overlapping(cut, new)
    kept = old.take(inside)
    # One that live has as well, though it is behind, is compared in its last state or not at all.
    kept = kept.take(~np.isin(kept.keys, new.keys[~whole]))
    return kept, new.take(whole), len(cut) + int((~whole).sum())


def _compared_until(settings: Settings, folder: Folder, reached: Reach) -> dict[str, datetime]:
    """Up to when transitions are compared, by topic: where the rules of the replay have come to.

    Where the processors are behind the range: what they have done with.
    """
    parts = folder.manifest().range.parts()
    behind = {each.source[0] for each in parts if reached.get(each.source, 0) < each.stop}
    marks = passed(settings) if behind else {}
    ends = {topic: marks.get(topic, 0) for topic in behind}
    clocks: dict[str, int] = (folder.summary() or {}).get("clocks", {})
    return {topic: time_of(min(clock, ends.get(topic, clock))) for topic, clock in clocks.items()}


def _is_by(alert: Alert, catalogue: Catalogue, ends: Mapping[str, datetime]) -> bool:
    # Live a rule of this name may have had another metric.
    metric = catalogue.rules[alert.rule].metric
    return alert.time <= ends[catalogue.metrics[metric].event]


def _difference(
    windows: Compared, cut: int, old: list[Alert], new: list[Alert], beyond: int = 0
) -> Difference:
    mine, theirs = ({each.id: each for each in alerts} for alerts in (old, new))
    found = Difference(windows, cut=cut, beyond=beyond)
    for name in sorted({*mine, *theirs}, key=lambda name: (theirs.get(name) or mine[name]).time):
        change = _alert_change(mine.get(name), theirs.get(name))
        if change is None:
            found.alerts_equal += 1
        else:
            found.alerts.append(change)
    return found


def _alert_change(old: Alert | None, new: Alert | None) -> AlertChange | None:
    told = new or old
    assert told is not None  # noqa: S101  narrowing: one of them is there
    differing: dict[str, tuple[Any, Any]] = {}
    if old and new:
        names = type(new).model_fields.keys() - _NOT_COMPARED
        pairs = {name: (getattr(old, name), getattr(new, name)) for name in sorted(names)}
        differing = {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}
        if not differing:
            return None
    kind: cells.Kind = "changed" if old and new else "added" if new else "removed"
    return AlertChange(
        kind, told.id, told.rule, dict(told.labels), str(told.state), told.time, differing
    )
