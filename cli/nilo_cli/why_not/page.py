"""Why a rule is silent, on a terminal: the reasons, and the last windows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from nilo_cli.output import printable
from nilo_cli.rerun.recorder import Look
from nilo_cli.rerun.trial import Standing
from nilo_cli.why_not.reasons import Reason
from nilo_cli.windows import bars
from nilo_schemas.alerts import AlertState
from nilo_stream_processors.engine.detect.life import Verdict
from nilo_stream_processors.engine.detect.transition import time_of
from nilo_stream_processors.engine.detect.verdicts import Facts
from nilo_stream_processors.engine.detect.wording import labelled, told

_ROWS = 8
_VERDICTS = {
    Verdict.BREACH: ("meets it", "red"),
    Verdict.BETWEEN: ("between", "yellow"),
    Verdict.CLEAR: ("does not", ""),
    Verdict.ABSENT: ("no window", "dim"),
    None: ("not judged", "dim"),
}


@dataclass(frozen=True)
class Answer:
    """Where a rule stood for a series at a time, and why."""

    standing: Standing
    reasons: list[Reason]
    at: datetime

    @property
    def state(self) -> AlertState:
        """Of the alert; inactive when there has been none lately."""
        return self.standing.life.state if self.standing.life else AlertState.INACTIVE

    def as_json(self) -> dict[str, Any]:
        """It as one JSON value."""
        standing = self.standing
        return {
            "rule": standing.rule.name,
            "kind": standing.rule.kind,
            "labels": standing.key,
            "at": self.at.isoformat(),
            "looked_up_to": time_of(standing.clock).isoformat(),
            "state": self.state.value,
            "needed": standing.needed,
            "reasons": [reason._asdict() for reason in self.reasons],
            "windows": [_look_json(look) for look in standing.looks],
            "transitions": [
                alert.model_dump(mode="json", exclude_none=True) for alert in standing.transitions
            ],
        }


def show(answer: Answer, screen: Console) -> None:
    """Print all of it."""
    standing = answer.standing
    where = labelled(standing.key) or "all of the metric"
    screen.print(
        Text.assemble(
            (standing.rule.name, "bold"), f" for {printable(where)} at ",
            f"{answer.at:%Y-%m-%d %H:%M:%S}: ",
            (answer.state.value, "bold red" if answer.state is AlertState.FIRING else "bold"),
        )
    )  # fmt: skip
    for place, reason in enumerate(answer.reasons):
        screen.print(Text(f"  {printable(reason.text)}", "" if place else "bold"))
    if standing.clock < _microseconds(answer.at):
        behind = f"  windows were looked at up to {time_of(standing.clock):%Y-%m-%d %H:%M:%S}"
        screen.print(Text(behind, "dim"))
    if standing.looks:
        screen.print()
        screen.print(_windows(standing.looks[-_ROWS:]))
        screen.print(_line(standing.looks))


def _windows(looks: Sequence[Look]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 2, 0, 0))
    table.add_column("window ends", no_wrap=True)
    for name in ("value", "bound", "events"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("condition", no_wrap=True)
    for look in looks:
        facts = look.facts
        word, style = _VERDICTS[look.verdict]
        value, bound = ("", "") if facts is None else _held(facts)
        table.add_row(
            f"{time_of(look.end):%m-%d %H:%M:%S}",
            value,
            bound,
            f"{look.count:,}",
            Text(word, style),
        )
    return table


def _line(looks: Sequence[Look]) -> Text:
    values = [None if look.facts is None else look.facts.value for look in looks]
    return Text(f"{bars(values)}  the last {len(looks)} looks, from the lowest up", "cyan")


def _held(facts: Facts) -> tuple[str, str]:
    """The value and what it is held against: of an anomaly that is its score."""
    value = "" if facts.value is None else told(facts.value, facts.unit)
    if facts.threshold is None:
        return value, ""
    if facts.score is not None:
        return value, f"score {facts.score:.2f} of {facts.threshold:.2f}"
    return value, told(facts.threshold, facts.unit)


def _look_json(look: Look) -> dict[str, Any]:
    facts = look.facts
    return {
        "end": time_of(look.end).isoformat(),
        "verdict": _VERDICTS[look.verdict][0],
        "events": look.count,
        "value": facts and facts.value,
        "threshold": facts and facts.threshold,
        "score": facts and facts.score,
        "text": facts.text if facts else "",
    }


def _microseconds(time: datetime) -> int:
    return round(time.timestamp() * 1e6)
