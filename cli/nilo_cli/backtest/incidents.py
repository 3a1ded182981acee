"""Labelled incidents: a CSV with `start`, `end` and labels such as `model`."""

from __future__ import annotations

import csv
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from nilo_cli.errors import UsageError
from nilo_cli.event_csv import csv_rows
from nilo_cli.times import microseconds

_START, _END = "start", "end"


@dataclass(frozen=True)
class Incident:
    """What somebody says went wrong; times in microseconds since 1970.

    Attributes:
        line: of the file, to name it by.
        labels: what the series that show it have; of labels that are not here they may have any.
    """

    line: int
    start: int
    end: int
    labels: Mapping[str, str]


@dataclass(frozen=True)
class Incidents:
    """Those of a file; `ignored` are the columns that are no label of any rule."""

    found: list[Incident]
    ignored: list[str]


def read_incidents(path: Path, labels: Collection[str]) -> Incidents:
    """The incidents of a CSV file in UTF-8.

    Args:
        path: of the file.
        labels: those that the series of some rule have.

    Raises:
        UsageError: it is no such file; the text names it and the line.
        OSError: it cannot be read.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines(keepends=True)
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8: {error.reason}") from None
    columns = _columns(lines, path)
    found = [
        _incident(row, labels, f"{path}, line {line}", line)
        for line, row in csv_rows(lines, str(path))
    ]
    if not found:
        raise UsageError(f"{path}: there is no incident in it")
    return Incidents(found, [name for name in columns if name not in {_START, _END, *labels}])


def _columns(lines: list[str], path: Path) -> list[str]:
    header = next(csv.reader(lines), [])
    missing = [name for name in (_START, _END) if name not in header]
    if missing:
        raise UsageError(
            f"{path}, line 1: no column {' and no column '.join(missing)}; the header is "
            "`start,end` and, if you like, labels such as `model`"
        )
    return header


def _incident(row: Mapping[str, str], labels: Collection[str], where: str, line: int) -> Incident:
    start, end = (_time(row, name, where) for name in (_START, _END))
    if end < start:
        raise UsageError(f"{where}: it ends at {row[_END]}, before it starts at {row[_START]}")
    return Incident(line, start, end, {name: row[name] for name in labels if name in row})


def _time(row: Mapping[str, str], name: str, where: str) -> int:
    text = row.get(name, "").strip()
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(
            f"{where}: {name} {text!r} is no time: write 2025-06-01T12:00:00Z"
        ) from None
    return microseconds(time if time.tzinfo else time.replace(tzinfo=UTC))
