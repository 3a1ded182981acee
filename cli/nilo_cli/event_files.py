"""Files of events, as `nilo export` writes them, read and checked line by line."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from nilo_cli.emit import event_of, family_of, json_object
from nilo_cli.errors import UsageError
from nilo_cli.event_csv import csv_rows, csv_values
from nilo_schemas.envelope import Event

# Without one of these an event would not be the same again: some are made where they are missing.
_ALWAYS = ("id", "type", "time", "source")


@dataclass(frozen=True)
class Export:
    """An open file of events."""

    name: str
    file: IO[bytes]
    is_csv: bool

    def events(self) -> Iterator[Event]:
        """Its events from the beginning; raises UsageError, which names file and line."""
        self.file.seek(0)
        if self.is_csv:
            for number, row in csv_rows(self._lines(), self.name):
                yield self._from_row(row, f"{self.name}, line {number}: ")
            return
        for number, line in enumerate(self._lines(), 1):
            place = f"{self.name}, line {number}: "
            if line.strip():
                yield _event(json_object(line, place), place)

    def _from_row(self, row: dict[str, str], place: str) -> Event:
        _check_whole(row, place)
        try:
            return _event(csv_values(family_of(row["type"], place), row), place)
        except ValueError as error:
            raise UsageError(f"{place}not JSON: {error}") from None

    def _lines(self) -> Iterator[str]:
        for number, line in enumerate(self.file, 1):
            try:
                yield line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError:
                raise UsageError(f"{self.name}, line {number}: not UTF-8") from None


def _event(values: dict[str, Any], place: str) -> Event:
    _check_whole(values, place)
    return event_of(family_of(values["type"], place), values, place)


def _check_whole(values: Mapping[str, Any], place: str) -> None:
    missing = ", ".join(name for name in _ALWAYS if name not in values)
    if missing:
        raise UsageError(
            f"{place}no {missing}: `nilo export` writes it always; "
            "`nilo emit TYPE` makes it where a line has none"
        )


def opened(file: Path, is_csv: bool | None, stack: ExitStack) -> Export:
    """A file of events, open until the stack closes it.

    Args:
        file: where; `-` is standard input.
        is_csv: whether it is CSV, else JSON lines; None: its name tells.
        stack: closes it.

    Raises:
        UsageError: there is no such file, or it cannot be read.
    """
    if str(file) == "-":
        return Export("standard input", _rewindable(sys.stdin.buffer, stack), bool(is_csv))
    named_csv = file.suffix.lower() == ".csv"
    try:
        source = _rewindable(stack.enter_context(file.open("rb")), stack)
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}") from None
    return Export(str(file), source, named_csv if is_csv is None else is_csv)


def _rewindable(source: IO[bytes], stack: ExitStack) -> IO[bytes]:
    """The file, or a copy of what comes through a pipe: it is read twice."""
    if source.seekable():
        return source
    copy = stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115  the stack closes it
    shutil.copyfileobj(source, copy)
    return copy


def all_events(exports: Sequence[Export]) -> Iterator[Event]:
    """The events of one file after another; raises UsageError, which names file and line."""
    for export in exports:
        yield from export.events()
