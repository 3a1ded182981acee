"""Rows of a file to events, by a mapping."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, get_args, get_origin

from pydantic import AwareDatetime, ValidationError

from nilo_producers.errors import MappingError, RowError
from nilo_producers.expressions import Context, Expression, Get, Row, parse_expression
from nilo_producers.files import Table, Unreadable
from nilo_producers.mapping import Mapping
from nilo_schemas.envelope import Event
from nilo_schemas.families import family_of_type
from nilo_schemas.record import Part, inner_type, plain_type

OnBad = Callable[[RowError], None]


@dataclass(frozen=True)
class _Target:
    """A field, or an entry of a map or nested record in it."""

    field: str
    entry: str | None
    kind: Any
    get: Get


class RowReader:
    """Makes events of a table's rows. Reading again gives the same events under new ids.

    Raises:
        MappingError: the mapping names an unknown field, column or unit.
        ContractError: no family has the mapping's event type.
    """

    def __init__(self, table: Table, mapping: Mapping) -> None:
        self._table, self._mapping = table, mapping
        self.family = family_of_type(mapping.type)
        self._context = Context(table.path.name, table.columns, mapping.start)
        self._step = timedelta(seconds=mapping.step)
        self._columns: set[str] = set()
        fields = {"source": "'{@file}'", **mapping.fields}
        self._targets = [self._target(name, text) for name, text in fields.items()]
        self._time = next((t.get for t in self._targets if t.field == "time"), None)
        if self._time is not None:
            self._time_columns = self._expression("time", fields["time"], AwareDatetime).columns

    def events(
        self, on_bad: OnBad, *, shift: timedelta = timedelta(0), limit: int | None = None
    ) -> Iterator[Event]:
        """The events of the first `limit` rows, all their times moved by `shift`.

        A row that is no valid event goes to `on_bad`, which may raise it.
        """
        for number, row in self._rows(frozenset(self._columns), limit):
            try:
                event = self._event(number, row, shift)
            except RowError as error:
                on_bad(error)
            else:
                yield event

    def last_time(self, limit: int | None = None) -> datetime | None:
        """The latest time in the first `limit` rows, and so the end of the trace."""
        columns = self._time_columns if self._time else frozenset[str]()
        times = (self._readable_time(n, row) for n, row in self._rows(columns, limit))
        return max((time for time in times if time is not None), default=None)

    def first_time(self, limit: int | None = None) -> datetime | None:
        """The time of the first row that has a readable one."""
        columns = self._time_columns if self._time else frozenset[str]()
        times = (self._readable_time(n, row) for n, row in self._rows(columns, limit))
        return next((time for time in times if time is not None), None)

    def _rows(
        self, columns: frozenset[str], limit: int | None
    ) -> Iterator[tuple[int, Row | Unreadable]]:
        number = 0
        for batch in self._table.batches(columns):
            for row in batch:
                if number == limit:
                    return
                number += 1
                yield number, row

    def _event(self, number: int, row: Row | Unreadable, shift: timedelta) -> Event:
        if isinstance(row, Unreadable):
            raise self._bad(number, row.reason)
        values: dict[str, Any] = {"type": self._mapping.type}
        if self._time is None:
            values["time"] = self._made_up(number) + shift
        for target in self._targets:
            self._fill(values, target, number, row, shift)
        try:
            return self.family(**values)
        except ValidationError as error:
            raise self._bad(number, _explain(error)) from None

    def _fill(
        self, values: dict[str, Any], target: _Target, number: int, row: Row, shift: timedelta
    ) -> None:
        try:
            value = target.get(row)
            if target.kind is AwareDatetime and value is not None:
                value += shift
        except (ValueError, OverflowError) as error:
            raise self._bad(number, f"{target.field}: {error}") from None
        if value is None:
            if target.field == "time":
                raise self._bad(number, "time: the row has none")
        elif target.entry is None:
            values[target.field] = value
        else:
            values.setdefault(target.field, {})[target.entry] = value

    def _readable_time(self, number: int, row: Row | Unreadable) -> datetime | None:
        if isinstance(row, Unreadable):
            return None
        if self._time is None:
            return self._made_up(number)
        try:
            time: datetime | None = self._time(row)
        except (ValueError, OverflowError):
            return None
        return time

    def _made_up(self, number: int) -> datetime:
        return self._mapping.start + (number - 1) * self._step

    def _bad(self, number: int, reason: str) -> RowError:
        return RowError(f"row {number:,} of {self._table.path.name}: {reason}", number)

    def _target(self, name: str, text: str) -> _Target:
        kind = _kind(self.family, name)
        expression = self._expression(name, text, kind)
        self._columns |= expression.columns
        field, _, entry = name.partition(".")
        return _Target(field, entry or None, kind, expression.get)

    def _expression(self, name: str, text: str, kind: Any) -> Expression:
        return parse_expression(name, text, kind, self._context)


def _kind(family: type[Event], name: str) -> Any:
    """The plain type of a field, or of the entry behind the dot in `attributes.region`."""
    field, _, entry = name.partition(".")
    if field not in family.model_fields or field in ("type", "id"):
        known = ", ".join(n for n in family.model_fields if n not in ("type", "id"))
        raise MappingError(
            f"{family.__name__} takes no field {field!r} from a file; it has {known}"
        )
    kind = plain_type(inner_type(family.model_fields[field].annotation)[0])
    if get_origin(kind) is dict and entry:
        return plain_type(get_args(kind)[1])
    if isinstance(kind, type) and issubclass(kind, Part) and entry in kind.model_fields:
        return plain_type(inner_type(kind.model_fields[entry].annotation)[0])
    if entry:
        raise MappingError(f"{name}: {field} has no entry {entry!r}")
    return kind


def _explain(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    value = repr(first["input"])[:80]
    return f"{place}: {value}: {first['msg']}" if place else str(first["msg"])
