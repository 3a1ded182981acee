"""The push gateway sink: the page of /metrics, pushed for a Prometheus that cannot reach us."""

from __future__ import annotations

import socket
from http.client import HTTPException
from urllib.error import HTTPError

from prometheus_client import CollectorRegistry, push_to_gateway

from nilo_consumers.batch import Batch, Policy
from nilo_consumers.errors import StoreRefusedError, StoreUnavailableError
from nilo_consumers.influx import answer_of
from nilo_consumers.prometheus import PrometheusSink
from nilo_consumers.series import WindowCollector
from nilo_schemas.settings import Settings

LIMIT = 10.0  # seconds for one request


class PushgatewaySink(PrometheusSink):
    """Puts the whole page under job and instance every five seconds in which windows came.

    It is left there at the end, for Prometheus may not have seen the last one yet; the gateway
    keeps it until somebody deletes the group.

    Args:
        registry: what to push.
    """

    name = "pushgateway"
    policy = Policy(rows=10_000, seconds=5.0)

    def __init__(
        self, settings: Settings, collector: WindowCollector, registry: CollectorRegistry
    ) -> None:
        super().__init__(collector)
        self._url, self._registry = settings.store_url("pushgateway_url"), registry
        self._job = f"{settings.topic_prefix}nilo"
        self._group = {"instance": socket.gethostname()}

    def write(self, batch: Batch) -> int:
        """Give the windows to the collector, then push all that it shows."""
        rows = super().write(batch)
        try:
            push_to_gateway(self._url, self._job, self._registry, self._group, timeout=LIMIT)
        except HTTPError as error:
            with error:
                raise self._refusal(error) from None
        except (OSError, HTTPException) as error:
            raise StoreUnavailableError(f"{self._url} does not answer: {error}") from error
        return rows

    def _refusal(self, error: HTTPError) -> StoreRefusedError | StoreUnavailableError:
        told = f"{self._url} answers {error.code}: {answer_of(error)[:200]}"
        if error.code == 429 or error.code >= 500:
            return StoreUnavailableError(told)
        return StoreRefusedError(f"{told}; see pushgateway_url")
