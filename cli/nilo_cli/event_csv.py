"""Events as CSV and back, exactly: one column for each field of the families that there are.

An empty cell is no value. Lists, maps and parts are JSON. A text that is empty, or that a
spreadsheet would take for a formula, is a JSON string, so `""` is the empty text; a cell that
begins with a quotation mark is read as JSON.
"""

from __future__ import annotations

import csv
import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from nilo_cli.emit import value_of
from nilo_cli.errors import UsageError
from nilo_schemas.envelope import Event
from nilo_schemas.families import families

_AS_JSON = re.compile(r'["=+@\t\r-]|.*\r|\Z', re.DOTALL)
_NUMBER = re.compile(r"-?[0-9.]+(E[+-]?[0-9]+)?")


class _Echo:
    """A file whose `write` gives the text back: so the writer makes lines."""

    def write(self, text: str) -> str:
        return text


def csv_lines(lines: Iterable[str], columns: Mapping[str, set[str]]) -> Iterator[str]:
    """The header and a row for each event; nothing when there is none.

    Args:
        lines: events as JSON.
        columns: the fields that have a value, by topic.
    """
    header = _header(columns)
    writer = csv.writer(_Echo(), lineterminator="\n")
    if header:
        yield writer.writerow(header)
    for line in lines:
        values = json.loads(line)
        yield writer.writerow([_cell(values.get(name)) for name in header])


def _header(columns: Mapping[str, set[str]]) -> list[str]:
    """The envelope, then the fields of each family, each once."""
    used = set().union(*columns.values())
    models: list[type[Event]] = [Event]
    models += [families()[topic] for topic in families() if topic in columns]
    names = [name for model in models for name in model.model_fields]
    return [name for name in dict.fromkeys(names) if name in used]


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str) and (_NUMBER.fullmatch(value) or not _AS_JSON.match(value)):
        return value
    return json.dumps(value, ensure_ascii=False)


def csv_rows(lines: Iterable[str], name: str) -> Iterator[tuple[int, dict[str, str]]]:
    """The rows of a CSV text, each with the number of its last line; empty cells are left out.

    Args:
        lines: of the text, with their ends.
        name: of the file, for errors.

    Raises:
        UsageError: the text is no CSV, or a row has more or fewer cells than the header.
    """
    csv.field_size_limit(sys.maxsize)
    reader = csv.reader(lines, strict=True)
    try:
        header = next(reader, [])
        if len(set(header)) < len(header):
            raise UsageError(f"{name}, line 1: two columns have the same name")
        for cells in reader:
            if not cells:
                continue  # an empty line
            if len(cells) != len(header):
                told = f"{len(cells)} cells, and the header has {len(header)}"
                raise UsageError(f"{name}, line {reader.line_num}: {told}")
            row = zip(header, cells, strict=True)
            yield reader.line_num, {name: cell for name, cell in row if cell}
    except csv.Error as error:
        raise UsageError(f"{name}, line {reader.line_num}: no CSV: {error}") from None


def csv_values(family: type[Event], row: Mapping[str, str]) -> dict[str, Any]:
    """The values in the cells of a row; raises ValueError for what is no JSON and should be."""
    return {
        name: json.loads(cell) if cell.startswith('"') else value_of(family, name, cell)
        for name, cell in row.items()
    }
