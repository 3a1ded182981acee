"""Sends notifications to one receiver, in a thread of its own: a slow one holds up no other."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime

from nilo_consumers.alerts.notify.apprises import ByApprise
from nilo_consumers.alerts.notify.labels import alertmanager_body, status_of, webhook_body
from nilo_consumers.alerts.notify.notification import START_LIMIT, Answer, Notification, Outcome
from nilo_consumers.alerts.notify.posting import Post, as_json, signed
from nilo_consumers.alerts.notify.receivers import Receiver
from nilo_consumers.alerts.notify.texts import Texts

Send = Callable[[Notification], Answer]
_ALERTS = "/api/v2/alerts"


def way_to(receiver: Receiver, external_url: str, on_template: Callable[[], None]) -> Send:
    """How a receiver is told: a function that sends one notification and says what became of it."""
    if receiver.kind == "apprise":
        service, texts = ByApprise(receiver.url), Texts(receiver, external_url, on_template)
        return lambda told: service.send(texts.of(told), status_of(told.alerts))
    if receiver.kind == "webhook":
        return _webhook(receiver, external_url)
    post = Post(receiver.url.rstrip("/").removesuffix(_ALERTS) + _ALERTS, show_answers=True)
    return lambda told: post.send(as_json(alertmanager_body(told, external_url)))


def _webhook(receiver: Receiver, external_url: str) -> Send:
    post = Post(receiver.url)

    def send(told: Notification) -> Answer:
        body = as_json(webhook_body(told, external_url))
        headers = {"Idempotency-Key": told.id}
        if receiver.secret is not None:
            headers |= signed(body, receiver.secret.get_secret_value(), datetime.now(UTC))
        return post.send(body, headers)

    return send


class Sender:
    """One notification at a time; the next is asked for when its end is known."""

    def __init__(self, name: str, send: Send) -> None:
        self._send = send
        self._pool = ThreadPoolExecutor(1, f"notify-{name}")
        self._under_way: tuple[Notification, Future[Answer]] | None = None

    @property
    def idle(self) -> bool:
        """Whether nothing is under way."""
        return self._under_way is None

    def begin(self, notification: Notification) -> None:
        """Send it; only when idle."""
        self._under_way = notification, self._pool.submit(self._in_time, notification)

    def ended(self, timeout: float = 0) -> tuple[Notification, Answer] | None:
        """What is under way, when it has ended within so many seconds; see `forget`."""
        if self._under_way is None:
            return None
        notification, future = self._under_way
        try:
            error = future.exception(timeout)
        except TimeoutError:
            return None
        if (
            error is not None
        ):  # a bug: it may have come after the sending, and its text hold the URL
            return notification, Answer(Outcome.UNCERTAIN, f"a bug: {type(error).__name__}")
        return notification, future.result()

    @property
    def under_way(self) -> Notification | None:
        """What is under way, or has ended and is not forgotten yet."""
        return self._under_way and self._under_way[0]

    def forget(self) -> None:
        """Be idle again; what may still be sent of it is nobody's business here."""
        self._under_way = None

    def close(self) -> None:
        """Begin nothing more."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _in_time(self, notification: Notification) -> Answer:
        # A process that was stopped meanwhile has been replaced: whoever took over may send it.
        if datetime.now(UTC) - notification.at > START_LIMIT:
            return Answer(Outcome.FAILED, "this process stood still before it was sent")
        return self._send(notification)
