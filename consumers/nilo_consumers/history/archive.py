"""The events of a partition out of the archive, blocks of Avro at a time."""

from __future__ import annotations

import io
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import fastavro
import pyarrow as pa

from nilo_consumers.batch import OFFSET, ORIGIN, PARTITION, STAMP
from nilo_consumers.errors import StoreRefusedError
from nilo_consumers.events import Family
from nilo_consumers.history.runs import Run, Wanted, in_order
from nilo_consumers.tiers.manifest import Entry
from nilo_consumers.tiers.read import archived_files
from nilo_schemas.arrow import arrow_schema, conform
from nilo_schemas.avro_blocks import Block, Items
from nilo_schemas.contracts import contract
from nilo_schemas.foreign import expanded, named_record
from nilo_schemas.settings import Settings

_BYTES = 2 * 1024 * 1024  # of Avro that is decoded at a time


def stretch_of_archive(settings: Settings, family: Family, wanted: Wanted) -> Iterator[pa.Table]:
    """As `lake.stretch_of_lake`, from the archive; of each day some blocks are in memory.

    Raises:
        StoreError: the manifest cannot be read, or a file is damaged.
        OSError: a file is not there.
    """
    runs = []
    for entry in archived_files(settings, family.kafka_topic):
        mine = [span for number, span in entry.offsets if number == wanted.partition]
        asked = any(span.start < wanted.stop and span.end > wanted.first for span in mine)
        if asked and _is_since(entry, wanted.since):
            path = settings.archive_location / entry.path
            begin = min(span.start for span in mine)
            runs.append(
                Run(begin, lambda path=path: _rows(path, family, wanted))  # type: ignore[misc]  # a default is bound now
            )
    yield from in_order(runs)


def extents_of_archive(
    settings: Settings, topic: str, since: datetime | None
) -> dict[int, tuple[int, int]]:
    """As `lake.extents_of_lake`, of the archive; raises as `stretch_of_archive` does."""
    found: dict[int, tuple[int, int]] = {}
    for entry in archived_files(settings, topic):
        if since is None or _is_since(entry, since):
            for number, span in entry.offsets:
                low, high = found.get(number, (span.start, span.end))
                found[number] = min(low, span.start), max(high, span.end)
    return found


def _is_since(entry: Entry, since: datetime) -> bool:
    return entry.event_date is None or entry.event_date >= since.astimezone(UTC).date()


def _rows(path: Path, family: Family, wanted: Wanted) -> Iterator[pa.Table]:
    """The rows of a partition in a file, in its order: by partition, then by offset."""
    for rows in _decoded(path, family, wanted.partition):
        places, offsets = rows[PARTITION].to_numpy(), rows[OFFSET].to_numpy()
        inside = (offsets >= wanted.first) & (offsets < wanted.stop)
        yield rows.filter(pa.array(inside & (places == wanted.partition)))


def _decoded(path: Path, family: Family, partition: int) -> Iterator[pa.Table]:
    held: list[Block] = []
    items: Items | None = None
    try:
        with path.open("rb") as file:
            reader: Any = fastavro.block_reader(file)
            writer = expanded(reader.writer_schema)
            items = Items(named_record(writer, count()))
            for block in _blocks_of(reader, partition):
                held.append(block)
                if sum(len(data) for _, data in held) > _BYTES:
                    yield _table(items, held, writer, family)
                    held = []
            if held:
                yield _table(items, held, writer, family)
    except OSError:
        raise
    except Exception as error:  # whatever a damaged byte leads the library to
        raise StoreRefusedError(f"{path} is no whole Avro file: {error}") from error


class _Seen(NamedTuple):
    block: Block
    begins_with: int


def _blocks_of(reader: Any, partition: int) -> Iterator[Block]:
    """The blocks that may have rows of a partition, by the first row of each and of the next."""
    held: _Seen | None = None
    for block in reader:
        data = block.bytes_.getvalue()
        row: Any = fastavro.schemaless_reader(io.BytesIO(data), block.writer_schema, None)
        seen = _Seen((block.num_records, data), row[PARTITION])
        if held is not None and held.begins_with <= partition <= seen.begins_with:
            yield held.block
        held = seen
    if held is not None and held.begins_with <= partition:
        yield held.block


def _table(items: Items, blocks: list[Block], writer: dict[str, Any], family: Family) -> pa.Table:
    found = items.decode(blocks)
    batch = pa.RecordBatch.from_struct_array(found)
    rows = conform(batch, writer, expanded(contract(family)), arrow_schema(family))
    told = pa.schema([*ORIGIN, STAMP])
    origin = [
        batch[field.name].cast(field.type)
        if field.name in batch.schema.names
        else pa.nulls(batch.num_rows, field.type)
        for field in told
    ]
    return pa.Table.from_arrays([*rows.columns, *origin], schema=pa.schema([*rows.schema, *told]))
