"""Why a rule is silent about a series, in plain words.

Pure: of where the rule stood by its windows, of what was published, and of what people said.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from nilo_cli.rerun.recorder import Look
from nilo_cli.rerun.trial import Late, Standing
from nilo_cli.why_not.untold import untold
from nilo_consumers.alerts.suppress import suppression
from nilo_schemas.alerts import ACTIVE, Alert, AlertState, Silence
from nilo_stream_processors.engine.detect.life import Verdict
from nilo_stream_processors.engine.detect.transition import time_of
from nilo_stream_processors.engine.detect.wording import labelled, span
from nilo_stream_processors.engine.series import OTHER


class Reason(NamedTuple):
    """A reason: one word for programs, and a line for people."""

    kind: str
    text: str


@dataclass(frozen=True)
class Said:
    """What was known of alerts at a time: those published up to then, and all silences."""

    at: datetime
    published: list[Alert]
    active: list[Alert]
    silences: Mapping[str, Silence]


def reasons(standing: Standing, said: Said) -> list[Reason]:
    """Why an alert fires or does not, the one that decides first."""
    life = standing.life
    state = life.state if life else AlertState.INACTIVE
    if state in ACTIVE:
        return [*_quiet(standing, said), *_firing(standing, said)]
    found = [*_pending(standing)] if state is AlertState.PENDING else [*_silent(standing)]
    return [*found, *map(_late, standing.late[-1:]), *_capped(standing), *_otherwise(said)]


def _firing(standing: Standing, said: Said) -> Iterator[Reason]:
    life = standing.life
    assert life is not None  # noqa: S101  narrowing; it is active
    since = _clock(life.starts_at)
    if life.state is AlertState.NO_DATA:
        yield Reason("without_data", f"active since {since}, and without data by now")
    else:
        text = standing.transitions[-1].reason if standing.transitions else ""
        yield Reason("firing", f"it is firing: the condition holds since {since}: {text}")
    alert = _newest(said)
    if alert is None or not alert.active:
        yield _unpublished(standing, alert)


def _unpublished(standing: Standing, alert: Alert | None) -> Reason:
    """The windows say that it fires, and the processors have not said so."""
    if alert is not None and alert.rule_hash != standing.rule.hash:
        return Reason("changed", "it was found by another version of the rule that it is silent")
    told = f"the newest transition is {alert.state.value}" if alert else "none was published"
    return Reason(
        "unpublished",
        f"but the processors have not said so ({told}): they do not run, have not come so far, "
        "have another catalogue, or the rule has as many alerts as one may have in a partition",
    )


def _quiet(standing: Standing, said: Said) -> Iterator[Reason]:
    """Why nobody is told of an alert that is active."""
    alert = _newest(said)
    if alert is None or not alert.active:
        active = [each for each in standing.transitions if each.active]
        alert = active[-1] if active else None
    if alert is None:
        return
    found = suppression(alert, said.active, said.silences.values(), said.at)
    for name in found.silenced_by:
        silence = said.silences[name]
        until = f" until {_time(silence.ends_at)}" if silence.ends_at else ""
        comment = f" ({silence.comment})" if silence.comment else ""
        yield Reason("silenced", f"silenced by {name} of {silence.created_by}{until}{comment}")
    for fingerprint in found.inhibited_by:
        cause = next(each for each in said.active if each.fingerprint == fingerprint)
        labels = f" ({labelled(cause.labels)})" if cause.labels else ""
        yield Reason("inhibited", f"inhibited by {cause.rule}{labels}: alert {cause.id}")
    if found.acknowledged_by:
        yield Reason("acknowledged", f"acknowledged by {found.acknowledged_by}")


def _pending(standing: Standing) -> Iterator[Reason]:
    life = standing.life
    assert life is not None  # noqa: S101  narrowing; it is pending
    yield Reason("pending", f"pending, {life.run} of {standing.needed} windows")
    yield Reason("met", f"since {_clock(life.starts_at)}: {_text(standing.looks[-1])}")


def _silent(standing: Standing) -> Iterator[Reason]:
    """Why it is not even pending."""
    # Where silence says something as well there is a look with figures behind the last window.
    last = next((look for look in reversed(standing.looks) if look.facts), None)
    told = last is not None and last.end > standing.newest_end
    if standing.clock - standing.newest_end >= 2 * standing.hop and not told:
        yield _without_data(standing)
    looks = [look for look in standing.looks if look.end <= standing.newest_end]
    if told or looks:
        yield _of_look(standing, last if last is not None and told else looks[-1])
    yield from _history(standing)


def _without_data(standing: Standing) -> Reason:
    if not standing.newest_end:
        return Reason("no_data", "no data: the series has had no window up to then")
    gone = span(standing.clock - standing.newest_end)
    return Reason("no_data", f"no data since {_clock(standing.newest_end)}, for {gone}")


def _of_look(standing: Standing, look: Look) -> Reason:
    unseen = untold(standing.rule, look)
    if unseen is not None:
        return Reason(*unseen)
    if look.verdict is Verdict.BETWEEN:
        clear = f" {standing.rule.clear}" if standing.rule.clear else ""
        return Reason(
            "between", f"between the condition and its clear{clear}: {_text(look)}; not firing"
        )
    return Reason("not_met", f"the condition does not hold: {_text(look)}")


def _history(standing: Standing) -> Iterator[Reason]:
    """How the last episode ended, if it is remembered."""
    if standing.life is None or not standing.transitions:
        return
    last = standing.transitions[-1]
    kind = "resolved" if last.state is AlertState.RESOLVED else "missed"
    before = "fired" if last.state is AlertState.RESOLVED else "was pending"
    yield Reason(kind, f"it {before} until {_time(last.time)}: {last.reason}")


def _late(late: Late) -> Reason:
    then = _text(late.then) or "no window"
    return Reason(
        "late",
        f"late: the window that ended at {_clock(late.now.end)} meets it by now "
        f"({_text(late.now)}), but what makes it do so came when it had been looked at ({then})",
    )


def _capped(standing: Standing) -> Iterator[Reason]:
    if OTHER in standing.key.values():
        yield Reason(
            "capped",
            f"capped: {OTHER} stands for all series beyond max_series; what each of them does "
            "does not show",
        )


def _otherwise(said: Said) -> Iterator[Reason]:
    """What was published, when it says otherwise."""
    alert = _newest(said)
    if alert is not None and alert.active:
        yield Reason(
            "published",
            f"the processors said otherwise: {alert.id} is {alert.state.value} since "
            f"{_time(alert.starts_at)} ({alert.reason}); the rule or its windows have changed",
        )


def _newest(said: Said) -> Alert | None:
    return said.published[-1] if said.published else None


def _text(look: Look) -> str:
    return look.facts.text if look.facts else ""


def _clock(microseconds: int) -> str:
    return _time(time_of(microseconds))


def _time(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M:%S}"
