"""The sink for InfluxDB's line protocol: final windows by HTTP POST."""

from __future__ import annotations

import re
import time
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

import pyarrow.compute as pc

from nilo_consumers.batch import Batch, Policy
from nilo_consumers.decoding import TopicPart
from nilo_consumers.errors import (
    RowsRefusedError,
    StoreError,
    StoreRefusedError,
    StoreUnavailableError,
)
from nilo_consumers.group import committed
from nilo_consumers.lines import line_protocol
from nilo_consumers.sink import Offsets
from nilo_schemas.settings import Settings

LIMIT = 30.0  # seconds for one request
TRANSIENT = {408, 425, 429}
_TOO_LARGE = 413
# How InfluxDB 1, 2 and QuestDB tell of lines that they do not take; other 400s are about us.
_LINES = re.compile(r"(?i)pars(e|ing)|partial write|\"line\"")
_SHOWN = 200  # characters of an answer


class Stay(HTTPRedirectHandler):
    """Follows no redirect: urllib would make a GET of the POST and lose the lines."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        """None makes an error of it."""


class InfluxSink:
    """Posts lines that overwrite themselves when they are sent again; see `Sink`.

    The store has no place for offsets, so the group's committed ones count: after a crash some
    windows are sent twice, and are there once.
    """

    name = "influx"
    policy = Policy(rows=5_000, seconds=1.0)
    look_back: timedelta | None = None

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._url = settings.store_url("influx_url")
        self._headers = {"Content-Type": "text/plain; charset=utf-8"}
        if settings.influx_token is not None:
            self._headers["Authorization"] = f"Token {settings.influx_token.get_secret_value()}"
        self._opener = build_opener(Stay)
        self._not_before = 0.0

    def connect(self, parts: Collection[TopicPart]) -> Offsets:
        """What the group has committed."""
        return committed(self._settings, self.name, parts)

    def write(self, batch: Batch) -> int:
        """Post the final windows of a batch; the number of them."""
        finals = batch.rows.filter(pc.field("final"))
        if finals.num_rows:
            self._post(line_protocol(finals))
        return int(finals.num_rows)

    def close(self) -> None:
        """Nothing is held open."""

    def _post(self, body: bytes) -> None:
        if (left := self._not_before - time.monotonic()) > 0:
            raise StoreUnavailableError(f"{self._place()} asked to wait for {left:.0f} s more")
        request = Request(self._url, body, self._headers, method="POST")  # noqa: S310  the setting's own
        try:
            self._opener.open(request, timeout=LIMIT).close()
        except HTTPError as error:
            with error:
                raise self._refusal(error) from None
        except ValueError as error:
            raise StoreRefusedError(f"{self._place()} cannot be asked: {error}") from error
        except (OSError, HTTPException) as error:
            raise StoreUnavailableError(f"{self._place()} does not answer: {error}") from error

    def _refusal(self, error: HTTPError) -> StoreError:
        answer = answer_of(error)
        told = f"{self._place()} answers {error.code}: {answer[:_SHOWN]}"
        if error.code in TRANSIENT or error.code >= 500:
            self._not_before = time.monotonic() + seconds_to_wait(error.headers.get("Retry-After"))
            return StoreUnavailableError(told)
        if error.code == _TOO_LARGE or (error.code in (400, 422) and _LINES.search(answer)):
            return RowsRefusedError(told)
        return StoreRefusedError(f"{told}; see influx_url and influx_token")

    def _place(self) -> str:
        url = urlsplit(self._url)
        return f"{url.scheme}://{url.netloc}{url.path}"


def answer_of(error: HTTPError) -> str:
    """What a server says with an error, as one line; empty when it breaks off."""
    try:
        return " ".join(error.read(10_000).decode(errors="replace").split())
    except (OSError, HTTPException):
        return ""


def seconds_to_wait(retry_after: str | None) -> float:
    """What a Retry-After header asks for: seconds, or a date."""
    if retry_after is None:
        return 0.0
    if retry_after.isdigit():
        return float(retry_after)
    try:
        return (parsedate_to_datetime(retry_after) - datetime.now(UTC)).total_seconds()
    except (TypeError, ValueError):
        return 0.0
