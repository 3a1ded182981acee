"""Mappings: which columns of a file become which fields; ours for known traces, and yours.

A mapping file (`mappings/*.toml`) names the files it knows, the event type, and an expression
(see nilo_producers.expressions) for each field. Files without a clock get a made-up one: row n
happens (n - 1) times `step` seconds after `start`.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping as Dict
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from nilo_producers.errors import MappingError
from nilo_schemas.families import family_of_type

FOLDER = Path(__file__).parent / "mappings"
MADE_UP_START = datetime(2024, 1, 1, tzinfo=UTC)
_PAIR = re.compile(r"""\s*([\w.-]+)\s*=\s*('[^']*'|"[^"]*"|[^,]*?)\s*(?:,|$)""")


@dataclass(frozen=True)
class Mapping:
    """Fields and their expressions for one event type; `made_up` says what is not in the file."""

    type: str
    fields: Dict[str, str] = field(default_factory=dict)
    files: tuple[str, ...] = ()
    start: datetime = MADE_UP_START
    step: float = 1.0
    made_up: str = ""


def parse_map(text: str) -> dict[str, str]:
    """The pairs of `field=expression,…`; commas within quotes do not separate.

    Raises:
        MappingError: a part is no pair, or a field stands twice.
    """
    pairs: dict[str, str] = {}
    position = 0
    while position < len(text):
        match = _PAIR.match(text, position)
        if match is None or not match[2]:
            raise MappingError(f"{text[position:]!r} is not field=column, as in model=name,…")
        if match[1] in pairs:
            raise MappingError(f"field {match[1]} is mapped twice in {text!r}")
        pairs[match[1]] = match[2]
        position = match.end()
    return pairs


@cache
def shipped() -> dict[str, Mapping]:
    """The mappings that come with Nilometer, by name."""
    return {path.stem: load_mapping(path) for path in sorted(FOLDER.glob("*.toml"))}


def load_mapping(path: Path) -> Mapping:
    """The mapping in a TOML file; raises MappingError when it is not one."""
    try:
        values = tomllib.loads(path.read_text())
        values["files"] = tuple(values.get("files", ()))
        return Mapping(**values)
    except (OSError, ValueError, TypeError) as error:
        raise MappingError(f"{path} is not a mapping: {error}") from error


def recognise(file: Path) -> Mapping | None:
    """The shipped mapping that knows a file by its name; the one that says most of it wins."""
    found = [
        (pattern.count("*"), -len(pattern), name)
        for name, mapping in shipped().items()
        for pattern in mapping.files
        if file.absolute().match(pattern)
    ]
    return shipped()[min(found)[-1]] if found else None


def resolve(file: Path, event_type: str | None, fields: Dict[str, str] | None) -> Mapping:
    """The mapping for a file: the shipped one, with the given type and fields laid over it.

    Raises:
        MappingError: no mapping knows the file and none is given.
        ContractError: no family has the event type.
    """
    known = recognise(file)
    if known and event_type and family_of_type(event_type) is not family_of_type(known.type):
        known = None
    if known is None and not (event_type and fields):
        missing = "--as TYPE and --map field=column,…" if not event_type else "--map field=column,…"
        raise MappingError(
            f"no shipped mapping makes {event_type or 'events'} of {file.name}: give {missing} "
            f"(shipped: {', '.join(shipped())})"
        )
    base = known or Mapping(type=event_type or "")
    return replace(base, type=event_type or base.type, fields={**base.fields, **(fields or {})})


def describe_clock(mapping: Mapping) -> str:
    """What of a mapping's times is made up, for people; empty when the file has a clock."""
    if "time" in mapping.fields:
        return mapping.made_up
    made_up = (
        f"the times are made up: the first row at {mapping.start:%Y-%m-%dT%H:%M:%SZ}, each next "
        f"{mapping.step:g} s later"
    )
    return "; ".join(part for part in (made_up, mapping.made_up) if part)
