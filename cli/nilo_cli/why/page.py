"""An alert and its causes on a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from nilo_cli.output import printable
from nilo_cli.why.account import Account
from nilo_cli.why.chain import Chain, Node
from nilo_cli.why.selected import RawEvent
from nilo_schemas.alerts import Alert, AlertState
from nilo_schemas.envelope import Event
from nilo_stream_processors.engine.detect.wording import labelled, told

STATES = {
    AlertState.FIRING: "bold red",
    AlertState.NO_DATA: "bold magenta",
    AlertState.PENDING: "yellow",
    AlertState.RESOLVED: "green",
}
_RULES = {
    "same": "still the catalogue's",
    "changed": "the catalogue's has changed since: what holds now may not be what held then",
    "gone": "the catalogue has it no longer",
}
_FACTS = 4  # fields of an event that are shown beside its envelope
# Kept back of what is shown of an event: they stand in the line already, or say nothing there.
_ENVELOPE = frozenset({*Event.model_fields, "attributes"})


def show(account: Account, screen: Console) -> None:
    """Print all of it."""
    alert = account.alert
    screen.print(_title(alert))
    screen.print(Text(printable(alert.summary)))
    screen.print()
    screen.print(_pairs(_arithmetic(account)))
    screen.print()
    screen.print(_events(account))
    screen.print()
    screen.print(_upstream(account))


def _title(alert: Alert) -> Text:
    style = STATES.get(alert.state, "")
    since = alert.ends_at or alert.starts_at
    return Text.assemble(
        (alert.rule, "bold"), " is ", (alert.state.value, style), f" since {clock(since)}  ",
        (f"{alert.severity}  {alert.id}", "dim"),
    )  # fmt: skip


def _arithmetic(account: Account) -> Iterator[tuple[str, str]]:
    alert = account.alert
    yield "why", alert.reason
    yield "series", labelled(alert.labels) or "all of the metric"
    yield "metric", f"{alert.metric} {alert.aggregate}".rstrip()
    if alert.window_start and alert.window_end:
        span = f"{clock(alert.window_start)} to {clock(alert.window_end)}"
        yield "window", f"{alert.window}: {span}" if alert.window else span
    yield "figures", ", ".join(f"{name} {value}" for name, value in _figures(alert))
    yield "since", _since(alert)
    yield "rule", f"{alert.rule} {alert.rule_hash}: {_RULES[account.rule]}"
    yield "advice", alert.advice
    yield "runbook", "\n".join([alert.runbook, *account.runbook])
    yield "found in", account.where
    sources = [
        f"{each.topic}/{each.partition} {each.first_offset} to {each.last_offset}"
        for each in alert.sources
    ]
    yield "sources", "\n".join(sources)


def _figures(alert: Alert) -> Iterator[tuple[str, str]]:
    known = {
        "value": (alert.value, alert.unit),
        "threshold": (alert.threshold, alert.unit),
        "baseline": (alert.baseline, alert.unit),
        "spread": (alert.spread, alert.unit),
        "score": (alert.score, ""),
    }
    for name, (value, unit) in known.items():
        if value is not None:
            yield name, told(value, unit)
    yield from ((name, told(value)) for name, value in alert.figures.items())


def _since(alert: Alert) -> str:
    ended = f", over at {clock(alert.ends_at)}" if alert.ends_at else ""
    flapping = "; it flaps and is held" if alert.flapping else ""
    return f"the condition holds since {clock(alert.starts_at)}{ended}{flapping}"


def _pairs(rows: Iterator[tuple[str, str]]) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="cyan", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        if value.strip():
            table.add_row(name, Text("\n".join(map(printable, value.rstrip().split("\n")))))
    return table


def _events(account: Account) -> RenderableType:
    evidence = account.evidence
    lines: list[RenderableType] = [Text(_count(account), "bold")]
    if evidence.events:
        table = Table.grid(padding=(0, 2, 0, 0))
        for _ in range(4):
            table.add_column(no_wrap=True)
        table.add_column(overflow="fold")
        for event in evidence.events:
            table.add_row(*_event_row(event, account.alert.unit))
        lines.append(table)
    for each in evidence.lost:
        place = f"{each.topic}/{each.partition} {each.first_offset} to {each.last_offset}"
        lines.append(Text(f"{place}: Kafka has deleted them, and no store holds them", "yellow"))
    lines += [Text(printable(trouble), "yellow") for trouble in evidence.trouble]
    return Group(*lines)


def _count(account: Account) -> str:
    evidence = account.evidence
    if not evidence.total:
        return "No event of these sources is to be had"
    stores = ", ".join(f"{count:,} from {name}" for name, count in evidence.came_from.items())
    number = f"{evidence.total:,} event{'s' if evidence.total > 1 else ''}"
    shown = len(evidence.events)
    return f"{number} ({stores})" + (f", the {shown} most telling" * (shown < evidence.total))


def _event_row(event: RawEvent, unit: str) -> tuple[Text, ...]:
    value = "" if event.value is None else told(event.value, "" if unit == "share" else unit)
    return (
        Text(clock(event.time, milliseconds=True)),
        Text(value, justify="right"),
        Text("error" if event.error else "", "red"),
        Text(f"{event.partition}@{event.offset}", "dim"),
        Text(printable(_about(event))),
    )


def _about(event: RawEvent) -> str:
    """What an event is about, in a few words."""
    key = event.text("subject") or event.text("source") or ""
    plain = {
        name: value
        for name, value in event.values.items()
        if name not in _ENVELOPE and isinstance(value, str | bool | float) and value != ""
    }
    # What went wrong first, so that it is not cut off.
    ordered = sorted(plain.items(), key=lambda each: "error" not in each[0])
    facts: Mapping[str, Any] = dict(ordered[:_FACTS])
    return " ".join([event.values["type"], key, *(f"{name}={v}" for name, v in facts.items())])


def _upstream(account: Account) -> RenderableType:
    chain, where = account.upstream.chain, account.upstream.where
    if not where:
        if not account.evidence.events:
            return Text("Nothing can be followed upstream without events", "dim")
        return Text("These events name no cause and no trace: nothing to follow upstream", "dim")
    tree = Tree(Text(f"Upstream (looked for in {where})", "bold"), guide_style="dim")
    # What the alert is about stands above already; here is what leads to it.
    alone = {name for name in chain.found if name not in chain.causes and not chain.caused_by(name)}
    for root in chain.roots():
        if root.event.id not in alone:
            _branch(tree, root, chain)
    if alone:
        tree.add(Text(f"{len(alone)} of the events above have no known cause", "dim"))
    parts: list[RenderableType] = [tree, _verdict(chain)]
    if account.upstream.note:
        parts.append(Text(account.upstream.note, "yellow"))
    return Group(*parts)


def _branch(tree: Tree, node: Node, chain: Chain) -> None:
    branch = tree.add(_leaf(node, chain))
    for each in chain.caused_by(node.event.id):
        _branch(branch, each, chain)


def _leaf(node: Node, chain: Chain) -> Text:
    event = node.event
    line = Text(f"{clock(event.time, milliseconds=True)} {printable(_about(event))}")
    if event.error:
        line.append(" error", "red")
    if node.alert is not None:
        line.append(f" {node.alert.rule} {node.alert.state.value}", "magenta")
    if event.id in chain.found:
        line.append(" (this alert)", "dim")
    if chain.earliest is node:
        line.append(" ← earliest", "bold red")
    return line


def _verdict(chain: Chain) -> Text:
    node = chain.earliest
    if node is None:
        return Text("Nothing upstream is an error or in another alert: it begins here", "green")
    event, alert = node.event, node.alert
    what = "an error" if alert is None else f"part of {alert.rule} ({labelled(alert.labels)})"
    line = Text.assemble(
        ("The cause is ", "bold"),
        f"{event.values['type']} {event.text('subject') or event.text('source')} "
        f"at {clock(event.time, milliseconds=True)}: {what}",
    )
    if alert is not None:
        line.append(f"\nnilo alerts why {alert.id}", "bold")
    return line


def clock(time: datetime, *, milliseconds: bool = False) -> str:
    """A time of UTC to read."""
    text = f"{time:%Y-%m-%d %H:%M:%S}"
    return f"{text}.{time.microsecond // 1000:03}" if milliseconds else text
