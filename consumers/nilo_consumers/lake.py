"""The Delta tables of the lake: where they lie, how they are made, and how their files look."""

from __future__ import annotations

import atexit
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import (
    BloomFilterProperties,
    ColumnProperties,
    DeltaTable,
    WriterProperties,
)
from deltalake.exceptions import DeltaError, DeltaProtocolError, SchemaMismatchError
from pyarrow.dataset import FileSystemDataset
from pyarrow.fs import FileSystem, SubTreeFileSystem

from nilo_consumers.batch import OFFSET, ORIGIN
from nilo_consumers.errors import RowsRefusedError, StoreRefusedError, StoreUnavailableError
from nilo_consumers.tables import WINDOWS, stored_schema, table_name, time_column
from nilo_schemas.record import Record
from nilo_schemas.settings import Settings

EVENT_DATE = "event_date"
# A row group has as many rows at most, and its Bloom filters as much room.
ROW_GROUP = 250_000
# Whose events these are: what is asked for one subject or session reads few files.
BLOOM: tuple[str, ...] = ("subject", "session_id", "fingerprint")
# One file in a hundred is read for nothing; a filter takes 1.2 bytes a row.
_BLOOM_FALSE = 0.01
# Hardly any value of these comes twice: their dictionaries would be made to be thrown away.
_DISTINCT: tuple[str, ...] = ("id", "time", OFFSET)
# Random: the bounds of a row group or a page exclude nothing, and dictionaries take long.
_RANDOM: tuple[str, ...] = ("trace_id", "span_id", "parent_span_id", "causation_id")
# Values that go into a column at a time; the 1,024 of the library cost a tenth more time.
_WRITE_BATCH = 8192
_STATISTICS = "delta.dataSkippingStatsColumns"
# Not whose events these are: the log keeps its values for good, and Bloom filters skip better.
_SKIPPED_BY = ("type", "source", "metric", "window", "window_end", "stored_at")
_INVALID = "Invalid data found"  # deltalake has no error class of its own for it
_FULL = "No space left on device"  # likewise; what stands before it speaks of parsing
_THREADS_END = 0.05  # seconds
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Raise deltalake's errors as ours, marked transient or not."""
    try:
        yield
    except (SchemaMismatchError, DeltaProtocolError) as error:
        raise StoreRefusedError(f"the lake refuses {doing}: {_line(error)}") from error
    except pa.ArrowInvalid as error:
        raise RowsRefusedError(f"the lake refuses rows {doing}: {_line(error)}") from error
    except (DeltaError, OSError) as error:
        if _INVALID in str(error):
            raise RowsRefusedError(f"the lake refuses rows {doing}: {_line(error)}") from error
        if _FULL in str(error):
            told = f"the disk of the lake is full, {doing}: make room there"
            raise StoreUnavailableError(told) from error
        # Lost races between writers are among them: the next try sees what the winner wrote.
        raise StoreUnavailableError(f"the lake fails {doing}: {_line(error)}") from error


def _line(error: Exception) -> str:
    # deltalake shows the rows themselves behind the first sentences: they stay out of logs.
    text = _COLOUR.sub("", str(error)).split("Preview of invalid data")[0]
    return " ".join(text.replace("↳", "").split())


def table_location(settings: Settings, topic: str) -> str:
    """Folder or URL of a topic's Delta table; `topic` without prefix."""
    return f"{settings.lake_location.rstrip('/')}/{table_name(topic)}"


def existing_table(settings: Settings, topic: str) -> DeltaTable | None:
    """A topic's table (`topic` without prefix) or None; raises StoreError when it is unreadable."""
    location = table_location(settings, topic)
    with translated(f"opening {location}"):
        return DeltaTable(location) if DeltaTable.is_deltatable(location) else None


def dataset(table: DeltaTable) -> FileSystemDataset:
    """The table's files as PyArrow reads them.

    deltalake's own way hands Arrow's threads files of Python. A program that ends right after a
    read then mostly dies of them with SIGABRT (apache/arrow issue 34314). So a lake in a folder is
    read by Arrow's own files, and a program that has read one at a URL ends a moment later.
    """
    if not table.table_uri.startswith("file:"):
        atexit.unregister(_let_threads_end)
        atexit.register(_let_threads_end)
        return table.to_pyarrow_dataset()
    files, folder = FileSystem.from_uri(table.table_uri)
    return table.to_pyarrow_dataset(filesystem=SubTreeFileSystem(folder, files))


def _let_threads_end() -> None:
    # They want Python's lock for a moment, and nothing tells when all have had it. Of 98 programs
    # that ended right after reading a bucket six ended by SIGABRT, and of 98 with this none.
    time.sleep(_THREADS_END)


def made_table(settings: Settings, record: type[Record]) -> DeltaTable:
    """A record's table, made where it is missing."""
    location = table_location(settings, record.kafka_topic)
    wanted = {_STATISTICS: ",".join(_statistics_columns(record))}
    if not DeltaTable.is_deltatable(location):
        DeltaTable.create(
            location,
            stored_schema(record).append(pa.field(EVENT_DATE, pa.date32(), False)),
            mode="ignore",
            partition_by=[EVENT_DATE],
            configuration=wanted,
        )
    table = DeltaTable(location)
    if table.metadata().configuration.get(_STATISTICS) != wanted[_STATISTICS]:
        table.alter.set_table_properties(wanted)  # of an earlier version
    return table


def _statistics_columns(record: type[Record]) -> Sequence[str]:
    """Of which columns the log keeps the least and the greatest value of each file.

    Delta's own choice is the first 32 columns; where a row came from stands behind these.
    """
    names = stored_schema(record).names
    first = [time_column(record.kafka_topic), *(field.name for field in ORIGIN)]
    return first + [name for name in _SKIPPED_BY if name in names]


def literal(text: str) -> str:
    """A text in the SQL of the lake's DataFusion, which has neither parameters nor escapes here."""
    return "'" + text.replace("'", "''") + "'"


def text_field(name: str) -> pc.Expression:
    """A column of strings in a filter of a table's PyArrow dataset.

    What deltalake rewrites for a MERGE or a DELETE it writes as views of strings, which PyArrow
    compares with nothing; as it reads them they are plain strings again.
    """
    return pc.field(name).cast(pa.string())


def with_date(topic: str, rows: pa.Table) -> pa.Table:
    """Rows of a topic (without prefix) with the column that the files are parted by."""
    dates = rows.column(time_column(topic)).cast(pa.timestamp("us")).cast(pa.date32())
    return rows.append_column(pa.field(EVENT_DATE, pa.date32(), False), dates)


def writer_properties(topic: str, rows: int = ROW_GROUP) -> WriterProperties:
    """How files of a topic (without prefix) with up to so many rows are written."""
    bloom = BloomFilterProperties(
        set_bloom_filter_enabled=True, fpp=_BLOOM_FALSE, ndv=min(max(rows, 1), ROW_GROUP)
    )
    columns = dict.fromkeys(_DISTINCT, ColumnProperties(dictionary_enabled=False))
    random = ColumnProperties(dictionary_enabled=False, statistics_enabled="NONE")
    columns |= dict.fromkeys(_RANDOM, random)
    if topic != WINDOWS:  # which are never looked for by one of these
        columns |= dict.fromkeys(BLOOM, ColumnProperties(bloom_filter_properties=bloom))
    return WriterProperties(
        compression="ZSTD",
        max_row_group_size=ROW_GROUP,
        write_batch_size=_WRITE_BATCH,
        column_properties=columns,
    )
