"""Apprise: Slack, Discord, Telegram, mail and a hundred more by one URL; the one place that knows.

Its URLs are secrets, and it logs them: nothing of what it logs is let through.
"""

from __future__ import annotations

import logging
import time
from typing import Any

from nilo_consumers.alerts.notify.notification import Answer, Outcome
from nilo_consumers.alerts.notify.texts import Text
from nilo_consumers.extras import NOTIFY, require

require(NOTIFY, "notify")

import apprise  # noqa: E402  it is there only from here on

READ_LIMIT = 30.0  # seconds
_SLACK = 1.0  # seconds by which a service may seem to have answered before the limit
_KINDS = {"firing": apprise.NotifyType.FAILURE, "resolved": apprise.NotifyType.SUCCESS}
# urllib3 tells paths, and in them is what gets in.
for _name in ("apprise", "urllib3", "requests", "requests_oauthlib", "oauthlib"):
    logging.getLogger(_name).setLevel(logging.CRITICAL + 1)


class ByApprise:
    """Sends texts to one URL of Apprise."""

    def __init__(self, url: str) -> None:
        asset = apprise.AppriseAsset(app_id="Nilometer", app_desc="", async_mode=False)
        service: Any = apprise.Apprise.instantiate(url, asset=asset)
        if "rto=" not in url:
            service.socket_read_timeout = READ_LIMIT
        self._service, self._limit = service, float(service.socket_read_timeout)
        self._services = apprise.Apprise(service, asset=asset)

    def send(self, text: Text, status: str) -> Answer:
        """Send it; a failure that may have been a delivery is UNCERTAIN.

        Apprise only says that it has failed. A service that was asked for as long as we wait, and
        a URL of several recipients, may have delivered all the same.
        """
        begun = time.monotonic()
        try:
            done = self._services.notify(
                body=text.body,
                title=text.title,
                notify_type=_KINDS[status],
                body_format=apprise.NotifyFormat.TEXT,
            )
        except Exception as error:
            # Plugins are of many hands and raise what they like; the text may hold the URL.
            return Answer(Outcome.UNCERTAIN, f"{self._place()} fails: {type(error).__name__}")
        if done:
            return Answer(Outcome.SENT)
        late = time.monotonic() - begun >= self._limit - _SLACK
        if late or len(self._service) > 1:
            return Answer(Outcome.UNCERTAIN, f"{self._place()} may not have delivered it")
        return Answer(Outcome.FAILED, f"{self._place()} did not take it")

    def _place(self) -> str:
        return str(self._service.service_name)


def apprise_problem(url: str) -> str | None:
    """Why a URL is refused; None: Apprise takes it."""
    if apprise.Apprise.instantiate(url) is None:
        return "Apprise does not take this URL (not shown, as it may hold secrets)"
    return None
