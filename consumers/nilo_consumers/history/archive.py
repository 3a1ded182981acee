"""The events of a partition out of the archive, blocks of Avro at a time."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any, BinaryIO

import fastavro
import pyarrow as pa

from nilo_consumers.batch import OFFSET, ORIGIN, PARTITION, STAMP
from nilo_consumers.errors import StoreRefusedError
from nilo_consumers.events import Family
from nilo_consumers.history.runs import Run, Wanted, in_order
from nilo_consumers.tiers.manifest import Entry
from nilo_consumers.tiers.read import archived_files
from nilo_schemas.arrow import conform
from nilo_schemas.avro_blocks import Block, Items, unzigzag
from nilo_schemas.contracts import contract
from nilo_schemas.foreign import expanded, named_record
from nilo_schemas.settings import Settings

_BYTES = 4 * 1024 * 1024  # of Avro that is decoded at a time
_HEAD, _MARK = 20, 16  # bytes: of two numbers at most, and behind each block


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
    for rows in _decoded(path, family, wanted):
        places, offsets = rows[PARTITION].to_numpy(), rows[OFFSET].to_numpy()
        inside = (offsets >= wanted.first) & (offsets < wanted.stop)
        yield rows.filter(pa.array(inside & (places == wanted.partition)))


def _decoded(path: Path, family: Family, wanted: Wanted) -> Iterator[pa.Table]:
    """The rows of the blocks that may have what is wanted, some at a time."""
    held: list[Block] = []
    size = 0
    try:
        with path.open("rb") as file:
            reader: Any = fastavro.block_reader(file)
            writer = expanded(reader.writer_schema)
            items = Items(named_record(writer, count()))
            for block in _blocks_of(file, reader, wanted):
                held.append(block)
                size += len(block[1])
                if size > _BYTES:
                    yield _table(items, held, writer, family, wanted)
                    held, size = [], 0
            if held:
                yield _table(items, held, writer, family, wanted)
    except OSError:
        raise
    except Exception as error:  # whatever a damaged byte leads the library to
        raise StoreRefusedError(f"{path} is no whole Avro file: {error}") from error


def _blocks_of(file: BinaryIO, reader: Any, wanted: Wanted) -> Iterator[Block]:
    """From the last block that begins with the first offset or before it."""

    def block(place: int) -> Any:
        file.seek(place)
        return next(reader)

    def begin(place: int) -> tuple[int, int]:
        found = block(place)
        row: Any = fastavro.schemaless_reader(found.bytes_, found.writer_schema, None)
        return row[PARTITION], row[OFFSET]

    places = list(_places(file))
    first = bisect_right(places, (wanted.partition, wanted.first), key=begin)
    stop = bisect_left(places, (wanted.partition, wanted.stop), key=begin)
    for place in places[max(first - 1, 0) : stop]:
        found = block(place)
        yield found.num_records, found.bytes_.getvalue()


def _places(file: BinaryIO) -> Iterator[int]:
    """Where the blocks begin, from here on: each is told by its rows, its bytes and a mark."""
    place = file.tell()
    while head := file.read(_HEAD):
        yield place
        _, behind = unzigzag(head, 0)
        size, behind = unzigzag(head, behind)
        place += behind + size + _MARK
        file.seek(place)


def _table(
    items: Items, blocks: list[Block], writer: dict[str, Any], family: Family, wanted: Wanted
) -> pa.Table:
    batch = pa.RecordBatch.from_struct_array(items.decode(blocks))
    schema, reader = wanted.schema(family), expanded(contract(family))
    mine = [field for field in reader["fields"] if field["name"] in wanted.fields]
    told = pa.schema([*ORIGIN, STAMP])
    rows = conform(batch, writer, reader | {"fields": mine}, pa.schema(list(schema)[: len(mine)]))
    origin = [
        batch[field.name].cast(field.type)
        if field.name in batch.schema.names
        else pa.nulls(batch.num_rows, field.type)
        for field in told
    ]
    return pa.Table.from_arrays([*rows.columns, *origin], schema=schema)
