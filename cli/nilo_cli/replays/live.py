"""What was produced live: windows and alerts as Kafka or a store has them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc

from nilo_cli.cluster import connect, watermarks
from nilo_cli.offset_ranges import decoded
from nilo_consumers.window_rows import WINDOW_ROWS, Kind
from nilo_schemas.alerts import Alert
from nilo_schemas.errors import ContractError
from nilo_schemas.groups import group_positions
from nilo_schemas.results import PROCESSORS_GROUP, MetricWindow
from nilo_schemas.settings import Settings

Live = Literal["kafka", "postgres", "parquet"]
Reach = Mapping[tuple[str, int], int]
_FIRST, _LAST = datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)


def live_windows(
    settings: Settings,
    store: Live,
    kinds: Collection[Kind],
    *,
    since: datetime | None,
    until: datetime | None,
) -> Iterator[pa.RecordBatch]:
    """The final windows of some metrics and lengths from `since` on that end by `until`.

    All revisions, in batches with the columns of `window_rows.SCHEMA`.

    Raises:
        UnreachableError: no broker answers.
        StoreError: the store does not answer.
    """
    if store == "kafka":
        batches = _from_kafka(settings, {metric for metric, _ in kinds})
    else:
        begin, end = since or _FIRST, until or _LAST
        batches = WINDOW_ROWS[store](settings, kinds, begin, end, {})
    for batch in batches:
        yield batch.filter(_inside(since, until))


def _inside(since: datetime | None, until: datetime | None) -> Any:
    kind = pa.timestamp("us", "UTC")
    wanted = pc.field("final")
    if since is not None:
        wanted &= pc.field("window_start") >= pa.scalar(since, kind)
    if until is not None:
        wanted &= pc.field("window_end") <= pa.scalar(until, kind)
    return wanted


def _from_kafka(settings: Settings, metrics: Collection[str]) -> Iterator[pa.RecordBatch]:
    begins = tuple(f'["{metric}"'.encode() for metric in sorted(metrics))
    for table in _topic(settings, MetricWindow.kafka_topic, begins):
        yield from table.combine_chunks().to_batches()


def live_alerts(settings: Settings, rules: Collection[str]) -> list[Alert]:
    """The transitions of some rules that Kafka has, in the order in which they came.

    One that was acknowledged came again; the first counts.
    """
    found: dict[str, Alert] = {}
    for table in _topic(settings, Alert.kafka_topic, None):
        for row in table.drop_columns(["kafka_partition", "kafka_offset"]).to_pylist(
            maps_as_pydicts="lossy"
        ):
            if row["rule"] in rules:
                found.setdefault(row["id"], Alert.from_avro(row))
    return list(found.values())


def _topic(settings: Settings, topic: str, begins: tuple[bytes, ...] | None) -> Iterator[pa.Table]:
    """What a topic has of messages whose keys begin so."""
    admin, existing = connect(settings)
    name = settings.topic_prefix + topic
    if name not in existing:
        raise ContractError(f"topic {name} does not exist: run `nilo topics create`")
    ranges = watermarks(admin, {name: existing[name]})

    def wanted(message: Any) -> bool:
        return begins is None or message.key() is None or message.key().startswith(begins)

    for _, table in decoded(settings, ranges, wanted):
        yield table


def live_reach(settings: Settings) -> Reach:
    """Up to which offset the processors have come, by topic (without prefix) and partition."""
    admin, _ = connect(settings)
    group = settings.topic_prefix + PROCESSORS_GROUP
    positions = group_positions(admin, settings).get(group, {})
    return {
        (topic.removeprefix(settings.topic_prefix), number): position.next
        for (topic, number), position in positions.items()
    }
