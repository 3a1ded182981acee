"""What the demo shows of alerts: those that its incident has raised, each with its evidence."""

from __future__ import annotations

from datetime import datetime

from rich.console import Console
from rich.table import Table

from nilo_consumers.alerts.board import Board
from nilo_schemas.alerts import Alert, AlertState
from nilo_schemas.settings import Settings

_RAISED = frozenset({AlertState.FIRING, AlertState.NO_DATA, AlertState.RESOLVED})


def show_alerts(console: Console, settings: Settings, since: datetime) -> None:
    """The alerts that were raised since a time, with the figures, and how to ask why."""
    alerts = raised(settings, since)
    console.print("\nAlerts of this run (nilo alerts list --all)", style="bold")
    if not alerts:
        console.print("  none", style="dim")
        return
    table = Table()
    for name in ("rule", "of", "state", "why"):
        table.add_column(name, overflow="fold")
    for alert in alerts:
        style = "bold red" if alert.active else ""
        labels = " ".join(value for _, value in sorted(alert.labels.items()))
        table.add_row(alert.rule, labels, str(alert.state), alert.reason, style=style)
    console.print(table)
    console.print(f"  the events behind the first: nilo alerts why {alerts[0].fingerprint}")


def raised(settings: Settings, since: datetime) -> list[Alert]:
    """The alerts that fired in event time since then, the earliest first."""
    board = Board(settings)
    board.refresh()
    found = [
        alert for alert in board.alerts.values() if alert.state in _RAISED and alert.time >= since
    ]
    board.close()
    return sorted(found, key=lambda alert: (alert.starts_at, alert.rule))
