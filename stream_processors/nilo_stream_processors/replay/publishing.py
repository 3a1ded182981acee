"""Windows and alerts of files into topics."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pyruhvro
from confluent_kafka import KafkaError, Message, Producer

from nilo_schemas.alerts import Alert
from nilo_schemas.clients import kafka_config
from nilo_schemas.codec import encode
from nilo_schemas.contracts import contract
from nilo_schemas.errors import UnreachableError
from nilo_schemas.framing import frame
from nilo_schemas.registry import Registry
from nilo_schemas.results import MetricWindow
from nilo_schemas.settings import Settings

_DELIVERY_SECONDS = 30.0
_ROWS = 5_000
Messages = Iterable[tuple[bytes, bytes]]


class Publisher:
    """Sends windows and alerts as the processors do: same keys, same contracts.

    Args:
        settings: of the installation.
        namespace: in front of the names of the topics.
    """

    def __init__(self, settings: Settings, namespace: str) -> None:
        self._registry, self._namespace = Registry(settings), namespace
        self._contract = json.dumps(contract(MetricWindow))
        self._failed: list[KafkaError] = []
        self._producer = Producer(
            kafka_config(
                settings,
                enable_idempotence=True,
                compression_type="lz4",
                linger_ms=5,
                delivery_timeout_ms=int(_DELIVERY_SECONDS * 1000),
                partitioner="murmur2_random",
            )
            | {"log_level": 0}
        )

    def publish(self, windows: Path, alerts: Iterable[Alert]) -> None:
        """Send a pair of files; returns when the broker has it. Raises UnreachableError."""
        with pq.ParquetFile(windows) as file:
            self.publish_windows(file.iter_batches(_ROWS))
        self._send(Alert.kafka_topic, self._alert_messages(alerts))

    def publish_windows(self, batches: Iterable[pa.RecordBatch]) -> None:
        """Send windows; returns when the broker has them. Raises UnreachableError."""
        for batch in batches:
            self._send(MetricWindow.kafka_topic, self._window_messages(batch))

    def _window_messages(self, batch: pa.RecordBatch) -> Iterator[tuple[bytes, bytes]]:
        prefix = frame(self._registry.schema_id(MetricWindow), b"")
        (bodies,) = pyruhvro.serialize_record_batch(batch, self._contract, 1)
        rows = zip(batch["metric"].to_pylist(), batch["dimensions"].to_pylist(), strict=True)
        keys = (json.dumps([metric, *(value for _, value in labels)]) for metric, labels in rows)
        for key, body in zip(keys, bodies.to_pylist(), strict=True):
            yield key.encode(), prefix + body

    def _alert_messages(self, alerts: Iterable[Alert]) -> Iterator[tuple[bytes, bytes]]:
        for alert in alerts:
            yield alert.fingerprint.encode(), encode(alert, self._registry.schema_id(Alert))

    def _send(self, topic: str, messages: Messages) -> None:
        for key, value in messages:
            while True:
                try:
                    self._producer.produce(
                        self._namespace + topic, value, key, on_delivery=self._note
                    )
                    break
                except BufferError:
                    self._producer.poll(0.1)
        left = self._producer.flush(_DELIVERY_SECONDS + 1)
        if self._failed or left:
            self._producer.purge()
            why = self._failed[0].str() if self._failed else "no answer"
            raise UnreachableError(
                f"{self._namespace}{topic} did not take all ({why}); `nilo status` shows what runs"
            )

    def _note(self, error: KafkaError | None, _message: Message | Any) -> None:
        if error is not None:
            self._failed.append(error)
