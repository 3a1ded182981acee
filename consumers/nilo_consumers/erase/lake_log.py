"""The log of a table written by an earlier version: its statistics name subjects, until rewritten.

This version's log has no values of subjects; what an earlier one has written stays in old commits
and checkpoints, also of files that are gone.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake import DeltaTable
from pyarrow.fs import FileSelector

from nilo_consumers.erase.subject import SUBJECT
from nilo_consumers.errors import StoreRefusedError
from nilo_consumers.lake import dataset

_LOG = "_delta_log"
_BOUNDS = ("minValues", "maxValues")
# A commit has its statistics as JSON text in JSON; most have no such value, and are not parsed.
_MARK = f'\\"{SUBJECT}\\":\\"'.encode()
# Long values are cut, and the last letter of the greater one is then a later letter.
_CUT_FROM = 16  # letters


def naming(table: DeltaTable, subject: str) -> list[str]:
    """The files of the log that have the subject in their statistics, or one cut like it, by name.

    Raises:
        OSError: the lake does not answer.
    """
    files = dataset(table).filesystem
    found = (info.path for info in files.get_file_info(FileSelector(_LOG)))
    return sorted(
        Path(path).name
        for path in found
        if any(_may_be(value, subject) for value in _values(files, path))
    )


def rewrite(table: DeltaTable, location: str, subject: str) -> None:
    """Leave no statistics of a subject whose rows are gone; nothing when there are none.

    Commits that have them are replaced by such as say the same but for values of subjects. For
    checkpoints there comes a new one, of the files that the table has now. Sinks may go on.

    Raises:
        StoreRefusedError: the lake is no folder of this machine.
        OSError: the disk is full or does not answer.
    """
    names = naming(table, subject)
    if names and "://" in location:
        raise StoreRefusedError(
            f"the log of {location} has subjects in the statistics of an earlier version, and only "
            f"a lake in a folder of this machine can be rid of them: {', '.join(names)}"
        )
    folder = Path(location, _LOG)
    for name in (name for name in names if name.endswith(".json")):
        _replace(folder / name, without_values((folder / name).read_text()))
    old = [name for name in names if name.endswith(".parquet")]
    if old:
        table.create_checkpoint()
        newest = f"{table.version():020}.checkpoint.parquet"
        for name in (name for name in old if name != newest):
            (folder / name).unlink()


def without_values(commit: str) -> str:
    """A commit's text without values of subjects in its statistics; all else as it stands."""
    return "\n".join(map(_line, commit.split("\n")))


def _line(line: str) -> str:
    action: dict[str, Any] = json.loads(line) if line.strip() else {}
    stats = json.loads(action.get("add", {}).get("stats") or "{}")
    values = [stats.get(bounds) or {} for bounds in _BOUNDS]
    if not any(SUBJECT in each for each in values):
        return line
    for each in values:
        each.pop(SUBJECT, None)
    action["add"]["stats"] = json.dumps(stats, separators=(",", ":"))
    return json.dumps(action, separators=(",", ":"))


def _values(files: Any, path: str) -> Iterator[str]:
    """The least and the greatest subject of each file that a file of the log adds."""
    for stats in _statistics(files, path):
        known = json.loads(stats)
        for bounds in _BOUNDS:
            value = (known.get(bounds) or {}).get(SUBJECT)
            if value is not None:
                yield value


def _statistics(files: Any, path: str) -> Iterator[str]:
    if path.endswith(".json"):
        commit = _bytes(files, path)
        lines = commit.split(b"\n") if _MARK in commit else []
        for line in (line for line in lines if _MARK in line):
            yield (json.loads(line).get("add") or {}).get("stats") or "{}"
    elif path.endswith(".parquet"):
        with files.open_input_file(path) as opened:
            added = pq.ParquetFile(opened).read(columns=["add.stats"])["add"]
        yield from pc.drop_null(pc.struct_field(added, "stats")).to_pylist()


def _may_be(value: str, subject: str) -> bool:
    return value == subject or (len(value) > _CUT_FROM and subject.startswith(value[:-1]))


def _bytes(files: Any, path: str) -> bytes:
    with files.open_input_stream(path) as opened:
        content: bytes = opened.read()
    return content


def _replace(path: Path, text: str) -> None:
    unfinished = path.with_name(f".{path.name}.tmp")
    with unfinished.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)
