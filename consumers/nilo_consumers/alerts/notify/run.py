"""Run the notifier; try a receiver; show what would be sent."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from datetime import UTC, datetime
from typing import Any

from nilo_consumers.alerts.board import Board
from nilo_consumers.alerts.notify.labels import alertmanager_body, status_of, webhook_body
from nilo_consumers.alerts.notify.ledger import read_notified
from nilo_consumers.alerts.notify.notification import Desk, Notification, Outcome
from nilo_consumers.alerts.notify.notifier import EVERY, Notifier, desk_of, standings_of
from nilo_consumers.alerts.notify.receivers import Receiver
from nilo_consumers.alerts.notify.receivers_file import receivers_of
from nilo_consumers.alerts.notify.sample import sample
from nilo_consumers.alerts.notify.sender import way_to
from nilo_consumers.alerts.notify.texts import Texts
from nilo_consumers.errors import ReceiversError, StoreUnavailableError
from nilo_consumers.group import group_id
from nilo_consumers.metrics import SinkMetrics
from nilo_consumers.server import serving
from nilo_schemas.registry import Registry
from nilo_schemas.settings import Settings

NAME = "notify"


def run_notify(
    settings: Settings,
    *,
    stop: threading.Event,
    metrics_host: str = "127.0.0.1",
    metrics_port: int | None = None,
    on_ready: Callable[[str | None], None] | None = None,
) -> None:
    """Notify until `stop` is set, or stand by while another process does.

    Arguments as those of `run_sink`.

    Raises:
        ReceiversError: the file of the receivers is refused.
        NiloError: a terminal error; transient ones are waited out.
    """
    receivers = receivers_of(settings)
    metrics = SinkMetrics(NAME, group_id(settings, NAME))
    serve = (
        nullcontext(None) if metrics_port is None else serving(metrics, metrics_host, metrics_port)
    )
    with serve as url:
        notifier = Notifier(settings, receivers, stop, metrics)
        notifier.run(lambda: on_ready(url) if on_ready else None)


def send_test(settings: Settings, name: str) -> None:
    """Send a made-up alert to one receiver, and nothing to Kafka.

    Raises:
        ReceiversError: there is no such receiver.
        StoreUnavailableError: it was not delivered, or nobody knows.
    """
    receivers = receivers_of(settings)
    found = [each for each in receivers.receivers if each.name == name]
    if not found:
        names = ", ".join(each.name for each in receivers.receivers)
        raise ReceiversError(f"no receiver is called {name!r}; there are {names}")
    send = way_to(found[0], receivers.external_url, lambda: None)
    answer = send(sample(name))
    if answer.outcome is not Outcome.SENT:
        raise StoreUnavailableError(f"{answer.outcome}: receiver {name} {answer.reason}")


def would_send(settings: Settings, stop: threading.Event) -> Iterator[dict[str, Any]]:
    """What is due from now on, without sending or noting it; each as it falls due.

    Raises:
        NiloError: Kafka does not answer, or the file of the receivers is refused.
    """
    receivers = receivers_of(settings)
    notes = read_notified(settings, Registry(settings)).values()
    desks = {
        each.name: (each, desk_of(each, [note for note in notes if note.receiver == each.name]))
        for each in receivers.receivers
    }
    board = Board(settings)
    try:
        while not stop.wait(EVERY):
            board.refresh()
            for receiver, due in _due(board, list(desks.values())):
                yield _shown(receiver, due, receivers.external_url)
    finally:
        board.close()


def _due(
    board: Board, desks: list[tuple[Receiver, Desk]]
) -> Iterator[tuple[Receiver, Notification]]:
    now = datetime.now(UTC)
    standings = standings_of(board, (desk for _, desk in desks), now)
    for receiver, desk in desks:
        while due := desk.take(standings, now):
            if due.alerts:
                yield receiver, due
                desk.settle(due, Outcome.SENT, now)


def _shown(receiver: Receiver, due: Notification, external_url: str) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "time": due.at.isoformat(),
        "receiver": receiver.name,
        "status": status_of(due.alerts),
        "alerts": len(due.alerts),
    }
    if receiver.kind == "apprise":
        return shown | Texts(receiver, external_url, lambda: None).of(due)._asdict()
    body = webhook_body if receiver.kind == "webhook" else alertmanager_body
    return shown | {"json": json.dumps(body(due, external_url), ensure_ascii=False)}
