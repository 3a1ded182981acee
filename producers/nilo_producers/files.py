"""Files as batches of rows: CSV, JSON lines, and Parquet where pyarrow is installed.

Values of CSV are texts (the empty one is no value); those of JSON lines and Parquet have types. A
file is read in batches, so that its size does not matter.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from nilo_producers.errors import FileError

BATCH = 4096
_MISSING = "\0missing"


@dataclass(frozen=True)
class Unreadable:
    """A row that cannot be taken apart, and why."""

    reason: str


Rows = list[dict[str, Any] | Unreadable]


@dataclass(frozen=True)
class Table:
    """A file's columns, its number of rows where that is known, and its rows in batches.

    `batches` is given the columns that are wanted; it may be called more than once.
    """

    path: Path
    columns: tuple[str, ...]
    rows: int | None
    batches: Callable[[frozenset[str]], Iterator[Rows]]


def open_table(path: Path) -> Table:
    """The rows of a file, by its ending.

    Raises:
        FileError: missing, empty, of an unknown kind, damaged, or Parquet without pyarrow.
    """
    opener = _OPENERS.get(path.suffix.lower())
    if opener is None:
        raise FileError(f"{path} ends in none of {', '.join(_OPENERS)}: rename or convert it")
    if not path.is_file():
        raise FileError(f"{path} is not a file")
    return opener(path)


def _csv(path: Path) -> Table:
    with path.open(encoding="utf-8-sig", newline="") as file:
        header = next(_translated(path, csv.reader(file)), None)
    if not header:
        raise FileError(f"{path} is empty: its first line should name the columns")
    return Table(path, tuple(header), None, lambda _wanted: _csv_batches(path))


def _csv_batches(path: Path) -> Iterator[Rows]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, restval=_MISSING)
        yield from _batched(_csv_row(row) for row in _translated(path, reader))


def _csv_row(row: dict[Any, Any]) -> dict[str, Any] | Unreadable:
    if None in row:
        return Unreadable(f"{len(row[None])} cells more than the header has columns")
    if _MISSING in row.values():
        return Unreadable("fewer cells than the header has columns")
    return {name: value or None for name, value in row.items()}


def _json_lines(path: Path) -> Table:
    first = next(_json_batches(path, ()), [])
    columns = {name: None for row in first if isinstance(row, dict) for name in row}
    if not columns:
        raise FileError(f"{path} has no line with a JSON object in its first {BATCH:,} lines")
    return Table(path, tuple(columns), None, lambda wanted: _json_batches(path, wanted))


def _json_batches(path: Path, wanted: Iterable[str]) -> Iterator[Rows]:
    blank: dict[str, Any] = dict.fromkeys(wanted)
    with path.open(encoding="utf-8-sig") as file:
        lines = (line for line in _translated(path, file) if line.strip())
        yield from _batched(_json_row(line, blank) for line in lines)


def _json_row(line: str, blank: dict[str, Any]) -> dict[str, Any] | Unreadable:
    try:
        row = json.loads(line)
    except ValueError as error:
        return Unreadable(f"not JSON: {error}")
    if not isinstance(row, dict):
        return Unreadable(f"a JSON {type(row).__name__}, not an object")
    return blank | row


def _parquet(path: Path) -> Table:
    try:
        import pyarrow as pa  # noqa: PLC0415  not in the base install
        import pyarrow.parquet as pq  # noqa: PLC0415  the same
    except ImportError:
        raise FileError(
            f"{path}: Parquet needs pyarrow: pip install 'nilometer[consumers]'"
        ) from None
    try:
        with pq.ParquetFile(path) as file:
            columns, rows = tuple(file.schema_arrow.names), file.metadata.num_rows
    except pa.ArrowException as error:
        raise FileError(f"{path} is not readable as Parquet: {error}") from error
    return Table(path, columns, rows, lambda wanted: _parquet_batches(path, wanted))


def _parquet_batches(path: Path, wanted: frozenset[str]) -> Iterator[Rows]:
    import pyarrow as pa  # noqa: PLC0415  not in the base install
    import pyarrow.parquet as pq  # noqa: PLC0415  the same

    with pq.ParquetFile(path) as file:
        try:
            # A mapping of constants alone still needs as many rows as the file has.
            columns = sorted(wanted) or list(file.schema_arrow.names[:1])
            for batch in file.iter_batches(BATCH, columns=columns):
                yield _python_rows(batch)
        except pa.ArrowException as error:
            raise FileError(f"{path} is damaged: {error}") from error


def _python_rows(batch: Any) -> Rows:
    values = [_python_values(column) for column in batch.columns]
    return [dict(zip(batch.schema.names, row, strict=True)) for row in zip(*values, strict=True)]


def _python_values(column: Any) -> list[Any]:
    import pyarrow as pa  # noqa: PLC0415  not in the base install

    if pa.types.is_timestamp(column.type):
        # Python's datetime ends at microseconds; nanoseconds are cut off, not refused.
        column = column.cast(pa.timestamp("us", column.type.tz), safe=False)
    values: list[Any] = column.to_pylist()
    return values


def _translated(path: Path, lines: Iterable[Any]) -> Iterator[Any]:
    try:
        yield from lines
    except (UnicodeDecodeError, csv.Error) as error:
        raise FileError(f"{path} is not readable: {error}; it should be UTF-8 text") from error


def _batched(rows: Iterator[dict[str, Any] | Unreadable]) -> Iterator[Rows]:
    while batch := list(islice(rows, BATCH)):
        yield batch


_OPENERS: dict[str, Callable[[Path], Table]] = {
    ".csv": _csv,
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".parquet": _parquet,
}
