"""Webhooks and Alertmanager by HTTP; no text of an answer or an error holds the URL."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from datetime import datetime
from http.client import HTTPException, InvalidURL
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import unquote, urlsplit, urlunsplit
from urllib.request import Request, build_opener

from nilo_consumers.alerts.notify.notification import Answer, Outcome
from nilo_consumers.influx import TRANSIENT, Stay, answer_of, seconds_to_wait

LIMIT = 30.0  # seconds for one request
_GATEWAY_TIMEOUT = 504
_SHOWN = 200  # characters of an answer


class Post:
    """Posts JSON to a URL, with user and password out of it as basic authentication."""

    def __init__(self, url: str, *, show_answers: bool = False) -> None:
        parts = urlsplit(url)
        place = parts.netloc.rpartition("@")[2]
        self._url = urlunsplit(parts._replace(netloc=place))
        self._headers = {"Content-Type": "application/json"}
        if parts.username is not None:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
            self._headers["Authorization"] = f"Basic {base64.b64encode(pair).decode()}"
        self._show, self._opener = show_answers, build_opener(Stay)

    def send(self, body: bytes, headers: dict[str, str] | None = None) -> Answer:
        """What the server makes of it; what was sent whole and not answered is UNCERTAIN."""
        request = Request(self._url, body, self._headers | (headers or {}), method="POST")  # noqa: S310  http or https
        try:
            self._opener.open(request, timeout=LIMIT).close()
        except HTTPError as error:
            with error:
                return self._refusal(error)
        except (ValueError, InvalidURL) as error:
            return Answer(Outcome.REFUSED, f"cannot be asked: {_about(error)}")
        except URLError as error:
            # Raised while it connects and sends, and not while it waits for the answer.
            return Answer(Outcome.FAILED, f"does not answer: {_about(error.reason)}")
        except (OSError, HTTPException) as error:
            return Answer(Outcome.UNCERTAIN, f"breaks off: {_about(error)}")
        return Answer(Outcome.SENT)

    def _refusal(self, error: HTTPError) -> Answer:
        told = f"answers {error.code}"
        if self._show:
            told += f": {answer_of(error)[:_SHOWN]}"
        if error.code == _GATEWAY_TIMEOUT:
            return Answer(Outcome.UNCERTAIN, told)
        if error.code in TRANSIENT or error.code >= 500:
            return Answer(Outcome.FAILED, told, seconds_to_wait(error.headers.get("Retry-After")))
        return Answer(Outcome.REFUSED, told)


def signed(body: bytes, secret: str, at: datetime) -> dict[str, str]:
    """The headers that prove who sent a body and when: HMAC-SHA256 of `<timestamp>.<body>`."""
    stamp = str(int(at.timestamp()))
    digest = hmac.new(secret.encode(), f"{stamp}.".encode() + body, hashlib.sha256).hexdigest()
    return {"X-Nilo-Timestamp": stamp, "X-Nilo-Signature": f"sha256={digest}"}


def as_json(body: Any) -> bytes:
    """A body as it is sent and signed."""
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


def _about(error: object) -> str:
    # The text of an error may hold the URL; what the system says of an errno does not.
    text = error.strerror if isinstance(error, OSError) else None
    return text or type(error).__name__
