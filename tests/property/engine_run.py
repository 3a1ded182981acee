"""Runs both stages of the engine over a case, step by step, crashes and all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tests.property.engine_cases import Case
from tests.property.reference import Key, Source
from tests.rows import SECOND, START, Row
from tests.stages import Message, Shown, Stage1, Stage2


@dataclass(frozen=True)
class Step:
    """A source partition (or, with `who` None, stage 2) goes on, commits or crashes.

    `many` is how many events or messages it takes. A commit ends with or without publishing what
    was saved; without, a crash follows.
    """

    who: int | None
    what: str
    many: int = 0


@dataclass
class Run:
    """What came out: the newest revision of each window, and the refused events."""

    windows: dict[Key, Row]
    refused: dict[tuple[Source, int], str]


def run(case: Case, steps: Sequence[Step] = ()) -> Run:
    """All events through both stages: first the steps, then the rest at once, until all is idle."""
    both = _Both(case)
    for step in steps:
        if step.who is None:
            both.merge(step)
        else:
            both.source(both.sources[step.who % len(both.sources)], step)
    for source in both.sources:
        both.source(source, Step(0, "feed", len(case.events[source.source])))
        source.state.idle = True
        both.source(source, Step(0, "commit"))
    both.merge(Step(None, "feed", len(both.topic)))
    both.merge(Step(None, "commit"))
    windows = {_key(each): each.row for each in both.newest.values() if each.row["count"]}
    return Run(dict(sorted(windows.items())), both.refused)


class _Both:
    """Both stages, and the topic between them."""

    def __init__(self, case: Case) -> None:
        rules = {name: value / SECOND for name, value in case.rules.items()}
        self.case = case
        self.topic: list[Message] = []
        self.newest: dict[tuple[Any, ...], Shown] = {}
        self.refused: dict[tuple[Source, int], str] = {}
        self.sources = [
            Stage1(
                case.metrics,
                number,
                topic=topic,
                disorder=rules["bound"],
                grace=rules["grace"],
                future=rules["future_bound"],
                cap=case.rules["series_cap"],
            )
            for topic, number in sorted(case.events)
        ]
        # All topics of a case have equally many.
        partitions = 1 + max(number for _, number in case.events)
        self.stage2 = Stage2(case.metrics, partitions=partitions, grace=rules["grace"])

    def source(self, stage: Stage1, step: Step) -> None:
        """A step of a source partition."""
        if step.what == "feed":
            last, events = stage.state.last_offset, self.case.events[stage.source]
            rows = [event for event in events if event["offset"] > last][: step.many]
            told = zip(rows, stage.feed(*rows), strict=True)
            late = {(stage.source, row["offset"]): said for row, said in told if said != "taken"}
            self.refused |= late
        elif step.what == "crash":
            self.topic += stage.crash()
        else:
            message = stage.commit(snapshot="snapshot" in step.what)
            self.topic += stage.crash() if "crash" in step.what else [message]

    def merge(self, step: Step) -> None:
        """A step of stage 2."""
        if step.what == "feed":
            self.stage2.take(*self.topic[self.stage2.position :][: step.many])
            assert not self.stage2.state.refused
        elif step.what == "crash":
            self.stage2.crash()
        else:
            shown = self.stage2.commit(snapshot="snapshot" in step.what)
            if "crash" in step.what:
                self.stage2.crash()
            else:
                self._show(shown)

    def _show(self, shown: list[Shown]) -> None:
        for each in shown:
            name = each.metric, each.window, each.start, each.labels
            old = self.newest.get(name)
            if old is None or old.row["revision"] <= each.row["revision"]:
                self.newest[name] = each


def _key(shown: Shown) -> Key:
    start, end = (START + round(each * SECOND) for each in (shown.start, shown.end))
    return shown.metric, shown.window, start, end, shown.labels
