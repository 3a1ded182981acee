"""The alert that is asked about: from Kafka, from the board, else from the stores."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from nilo_cli.cluster import connect, watermarks
from nilo_cli.errors import UsageError
from nilo_cli.offset_ranges import decoded
from nilo_consumers.alerts.board import Board
from nilo_consumers.alerts.stored import STORES
from nilo_consumers.events import rows_of
from nilo_consumers.lake import existing_table
from nilo_schemas.alerts import ACTIVE, Alert
from nilo_schemas.arrow import arrow_schema
from nilo_schemas.errors import ContractError, NiloError
from nilo_schemas.settings import Settings


@dataclass(frozen=True)
class Found:
    """An alert, where it was found, and every transition that Kafka holds, in event time."""

    alert: Alert
    where: str
    published: list[Alert] = field(default_factory=list)


def find(settings: Settings, name: str) -> Found:
    """The alert with an id, or the newest transition of the one with a fingerprint.

    Raises:
        UsageError: nobody knows it.
        UnreachableError: no broker answers.
    """
    known = published(settings)
    alert = newest(known, name)
    if alert is not None:
        return Found(alert, "kafka", known)
    alert = _on_the_board(settings, name)
    if alert is not None:
        return Found(alert, "the board", known)
    for store in _stores(settings):
        alert = newest(STORES[store](settings, name), name)
        if alert is not None:
            return Found(alert, store, known)
    raise UsageError(
        f"no alert has the id or fingerprint {name!r}: `nilo alerts list --all` lists them, "
        "and `nilo alerts why-not RULE` tells why there is none"
    )


def newest(alerts: Iterable[Alert], name: str) -> Alert | None:
    """The last one that has this id or fingerprint."""
    mine = [alert for alert in alerts if name in (alert.id, alert.fingerprint)]
    return mine[-1] if mine else None


def published(settings: Settings) -> list[Alert]:
    """The transitions on `alerts`, each once, in event time; raises UnreachableError."""
    admin, existing = connect(settings)
    topic = settings.topic_prefix + Alert.kafka_topic
    if topic not in existing:
        raise ContractError(f"topic {topic} does not exist: run `nilo topics create`")
    ranges = watermarks(admin, {topic: existing[topic]})
    found: dict[str, Alert] = {}
    for _, rows in decoded(settings, ranges):
        for values in rows_of(rows.select(arrow_schema(Alert).names)):
            alert = Alert.from_avro(values)
            found[alert.id] = alert
    return sorted(found.values(), key=lambda alert: (alert.time, alert.revision))


def active_at(alerts: Iterable[Alert], at: datetime) -> list[Alert]:
    """The alerts that were firing or without data at a time.

    Args:
        alerts: transitions in event time.
    """
    last: dict[str, Alert] = {}
    for alert in alerts:
        if alert.time <= at:
            last[alert.fingerprint] = alert
    return [alert for alert in last.values() if alert.active]


def active_within(alerts: Iterable[Alert], since: datetime, until: datetime) -> list[Alert]:
    """The newest active transition of each alert that was active at some time between two."""
    found: dict[str, Alert] = {}
    for alert in alerts:
        if alert.time > until:
            continue
        if alert.state in ACTIVE:
            found[alert.fingerprint] = alert
        elif alert.time < since:
            found.pop(alert.fingerprint, None)
    return list(found.values())


def _on_the_board(settings: Settings, name: str) -> Alert | None:
    board = Board(settings)
    try:
        board.refresh()
        return newest(board.alerts.values(), name)
    finally:
        board.close()


def _stores(settings: Settings) -> list[str]:
    """The stores that these settings lead to and that hold alerts."""
    found = ["postgres"] if settings.database_url is not None else []
    try:
        lake = existing_table(settings, Alert.kafka_topic) is not None
    except NiloError:
        lake = False
    return [*found, *(["parquet"] if lake else [])]
