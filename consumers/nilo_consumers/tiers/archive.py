"""Files of the archive: Avro containers with the topic's contract and where each row came from."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import zip_longest
from pathlib import Path
from typing import Any

import fastavro

from nilo_consumers.audit.spans import Spans, union
from nilo_consumers.batch import OFFSET, PARTITION, STAMP, Span
from nilo_consumers.errors import StoreRefusedError, StoreUnavailableError
from nilo_schemas.contracts import contract
from nilo_schemas.record import Record

Values = dict[str, Any]
# Of the codecs that need no further package the one that every Avro reader must know.
_CODEC = "deflate"
_TIME = {"type": "long", "logicalType": "timestamp-micros"}
_ORIGIN = (
    {"name": PARTITION, "type": "int"},
    {"name": OFFSET, "type": "long"},
    {"name": STAMP.name, "type": ["null", _TIME], "default": None},
)


def archive_schema(record: type[Record]) -> dict[str, Any]:
    """The contract of a record with the origin behind its fields."""
    own = contract(record)
    return own | {"fields": [*own["fields"], *_ORIGIN]}


def completed(record: type[Record], row: Values) -> Values:
    """The row as it comes back out of a file: a field without a value has its default."""
    return {
        field["name"]: field.get("default")
        if row.get(field["name"]) is None
        else row[field["name"]]
        for field in archive_schema(record)["fields"]
    }


def write(path: Path, record: type[Record], rows: Iterable[Values]) -> None:
    """Write a file that is there whole or not at all.

    Args:
        path: its name; a file that has it is replaced.
        record: whose rows.
        rows: with all fields, in order.

    Raises:
        StoreError: the disk is full, does not answer or is not ours; or `rows` raise it.
    """
    unfinished = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with unfinished.open("wb") as file:
            fastavro.writer(file, archive_schema(record), rows, codec=_CODEC)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
        _sync_folders(path)
    except OSError as error:
        with suppress(OSError):  # it would take the room that is left
            unfinished.unlink()
        raise StoreUnavailableError(
            f"the archive does not take {path}: {error.strerror}; see to its disk and rights"
        ) from error


def read(path: Path) -> Iterator[Values]:
    """The rows of a file, in its order.

    Raises:
        StoreRefusedError: it is no Avro file, or damaged.
        OSError: it is not there.
    """
    with path.open("rb") as file:
        try:
            rows: Any = fastavro.reader(file)
            yield from rows
        except OSError:
            raise
        except Exception as error:  # whatever a damaged byte leads the library to
            raise StoreRefusedError(f"{path} is no whole Avro file: {error}") from error


def check_equal(path: Path, rows: Iterable[Values]) -> int:
    """Compare a file with the rows that it is to hold, and count them.

    Raises:
        StoreRefusedError: it holds others, or in another order.
    """
    number = 0
    for number, (found, wanted) in enumerate(zip_longest(read(path), rows), 1):
        if found != wanted:
            raise StoreRefusedError(f"{path}: row {number} is not what the lake holds")
    return number


def spans(path: Path) -> dict[int, Spans]:
    """The offsets of a file's rows, by partition; raises as `read` does."""
    found: dict[int, list[Span]] = {}
    for row in read(path):
        some = found.setdefault(row[PARTITION], [])
        if some and some[-1].end == row[OFFSET]:
            some[-1] = Span(some[-1].start, row[OFFSET] + 1)
        else:
            some.append(Span(row[OFFSET], row[OFFSET] + 1))
    return {partition: union(some) for partition, some in found.items()}


def fault(path: Path, size: int, sha256: str | None = None) -> str | None:
    """What is wrong with a file of this size and, if given, checksum; None: nothing."""
    if not path.exists():
        return "is missing"
    if path.stat().st_size != size:
        return f"has {path.stat().st_size} bytes, not {size}"
    if sha256 and checksum(path) != sha256:
        return "has another checksum"
    return None


def checksum(path: Path) -> str:
    """The SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync_folders(path: Path) -> None:
    # A name is safe when its folder is, and the folder when the one above it is.
    for folder in list(path.parents)[:3]:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
