"""A difference for people and for programs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nilo_cli.output import Row, print_json, show_rows, wants_json
from nilo_cli.replays.canary import Tried
from nilo_cli.replays.cells import Change
from nilo_cli.replays.difference import AlertChange, Difference

COLUMNS = ["metric", "window", "from", "series", "what", "old", "new", "relative", "events"]


def show_difference(found: Difference, rows: int, *, as_json: bool) -> None:
    """The largest differences as a table, or all of them as JSON lines, and the counts."""
    if wants_json(as_json):
        for change in found.windows.changes:
            print_json({"cell": change.to_json()})
        for alert in found.alerts:
            print_json({"alert": alert.to_json()})
        print_json({"summary": found.summary()})
        return
    largest = sorted(found.windows.changes, key=weight, reverse=True)[:rows]
    if largest:
        show_rows([cell_row(change) for change in largest], COLUMNS, as_json=False)
    if found.alerts:
        show_rows([alert_row(each) for each in found.alerts[:rows]], ALERT_COLUMNS, as_json=False)
    print(verdict(found))


ALERT_COLUMNS = ["alert", "labels", "state", "time", "what"]


def verdict(found: Difference) -> str:
    """One or two lines."""
    counted = found.windows
    lines = [
        f"{counted.equal:,} windows and {found.alerts_equal:,} transitions of alerts are equal, "
        f"{counted.differ:,} windows ({counted.changed:,} changed, {counted.added:,} added, "
        f"{counted.removed:,} removed) and {len(found.alerts):,} transitions differ"
    ]
    if found.cut or found.beyond:
        lines.append(
            f"not compared: {found.cut:,} windows with events outside of the range or not worked "
            f"off live yet, {found.beyond:,} transitions behind its end"
        )
    return "\n".join(lines)


def weight(change: Change) -> float:
    """How large a change is: of what has no relative change, largest."""
    return float("inf") if change.relative is None else abs(change.relative)


def cell_row(change: Change) -> Row:
    """A change as a line of a table."""
    what = change.field if change.kind == "changed" else change.kind
    relative = None if change.relative is None else f"{change.relative:+.2%}"
    events = " ".join(
        f"{each.partition}:{each.first_offset}-{each.last_offset}" for each in change.sources
    )
    return {
        "metric": change.metric,
        "window": change.window,
        "from": f"{change.window_start:%Y-%m-%d %H:%M:%S}",
        "series": " ".join(f"{name}={value}" for name, value in change.dimensions.items()),
        "what": what,
        "old": change.old,
        "new": change.new,
        "relative": relative,
        "events": events,
    }


def alert_row(change: AlertChange) -> Row:
    """A transition as a line of a table."""
    return {
        "alert": change.rule,
        "labels": " ".join(f"{name}={value}" for name, value in change.labels.items()),
        "state": change.state,
        "time": f"{change.time:%Y-%m-%d %H:%M:%S}",
        "what": change.kind if not change.fields else ", ".join(change.fields),
    }


def show_tried(found: Sequence[Tried], *, as_json: bool) -> bool:
    """What was tried, family by family, and the verdict in one line; whether all is equal."""
    compared = [each.difference for each in found if each.difference is not None]
    blind = [each.topic for each in found if each.is_blind]
    equal = all(each.is_equal for each in compared) and not blind
    told: dict[str, Any] = {
        "equal": equal,
        "blind": blind,
        "families": len(compared),
        "events": sum(each.events for each in found),
        "windows_equal": sum(each.windows.equal for each in compared),
        "windows_differ": sum(each.windows.differ for each in compared),
        "alerts_equal": sum(each.alerts_equal for each in compared),
        "alerts_differ": sum(len(each.alerts) for each in compared),
    }
    if wants_json(as_json):
        for each in found:
            summary = {} if each.difference is None else each.difference.summary()
            print_json({"topic": each.topic, "events": each.events, **summary})
        print_json({"verdict": told})
        return equal
    for each in found:
        if each.difference is not None:
            print(f"{each.topic}: {each.events:,} events; {verdict(each.difference)}")
    if blind:
        print(f"the processors have not come to these events of {', '.join(blind)}: do they run?")
    print(_canary(told))
    return equal


def _canary(told: dict[str, Any]) -> str:
    word = "well" if told["equal"] else "BLIND" if told["blind"] else "DIFFERS"
    windows = told["windows_equal"] + told["windows_differ"]
    alerts = told["alerts_equal"] + told["alerts_differ"]
    return (
        f"canary {word}: {told['families']} families, {told['events']:,} events, "
        f"{told['windows_differ']:,} of {windows:,} windows and "
        f"{told['alerts_differ']:,} of {alerts:,} transitions differ"
    )
