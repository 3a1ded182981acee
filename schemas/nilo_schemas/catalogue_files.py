"""Reads the catalogue: the shipped YAML files, and a folder of the user's laid over them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from nilo_schemas.catalogue import Catalogue, Metric
from nilo_schemas.errors import CatalogueError
from nilo_schemas.rule_checks import rule_problems, runbook_is_url
from nilo_schemas.rules import Rule

SHIPPED = Path(__file__).parent / "catalogue"
_Model = TypeVar("_Model", bound=BaseModel)
_Place = tuple[str | int, ...]
_KEYS = {"metrics", "alerts"}


@dataclass(frozen=True)
class _File:
    path: Path
    tree: yaml.Node | None
    values: dict[str, Any]

    def refused(self, place: _Place, message: str) -> CatalogueError:
        """The error about a place in this file."""
        where = ".".join(str(step) for step in place).removeprefix("metrics.")
        return CatalogueError(f"{self.path}:{line_of(self.tree, place)}: {where}: {message}")

    def parsed(self, model: type[_Model], place: _Place, value: Any) -> _Model:
        """The value at a place as a model; raises CatalogueError."""
        try:
            return model.model_validate(value)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            raise self.refused((*place, *first["loc"]), first["msg"]) from None


@dataclass
class _Found:
    """The metrics, and the rules by name, each with the file and place that it is from.

    `names` has those of rules as well that are no longer there: others may still say that they hide
    them.
    """

    metrics: dict[str, Metric] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)
    rules: dict[str, tuple[Rule, _File, _Place]] = field(default_factory=dict)


def load_catalogue(folder: Path | None = None) -> Catalogue:
    """The shipped catalogue with the user's folder laid over it, metric by metric, rule by rule.

    Raises:
        CatalogueError: a file is refused; the text names file, line and reason.
    """
    return _in_force(_found(folder))


def _in_force(found: _Found) -> Catalogue:
    in_force = {name: each for name, each in found.rules.items() if each[0].enabled}
    for rule, file, place in in_force.values():
        _check(rule, file, place, found.metrics, found.names)
        _check_runbook(rule, file, place)
    return Catalogue(
        metrics=found.metrics, rules={name: rule for name, (rule, *_) in in_force.items()}
    )


def disabled_rules(folder: Path | None = None) -> list[str]:
    """The names of the rules that are switched off; raises as `load_catalogue` does."""
    return sorted(name for name, (rule, *_) in _found(folder).rules.items() if not rule.enabled)


def load_rules(path: Path, folder: Path | None = None) -> tuple[Catalogue, list[Rule]]:
    """The rules of one catalogue file, beside the catalogue that they are for.

    Rules that the file has switched off are among them, and runbooks need not be there yet. A
    metric in it must be the catalogue's own, as there are no windows of any other.

    Returns:
        The catalogue in force without the file, and the rules of the file, at least one.

    Raises:
        CatalogueError: the file or the catalogue is refused; the text names file, line and reason.
    """
    known, file = _found(folder), _read(path)
    for name, metric in _metrics(file):
        _check_known(name, metric, file, known)
    rules = list(_rules(file))
    names = known.names | {rule.name for rule, _ in rules}
    for number, (rule, place) in enumerate(rules):
        if rule.name in {each.name for each, _ in rules[:number]}:
            raise file.refused(place, f"there is another alert of the name {rule.name}")
        _check(rule, file, place, known.metrics, names)
    if not rules:
        raise CatalogueError(f"{path}:1: there is no rule in it")
    return _in_force(known), [rule for rule, _ in rules]


def _check_known(name: str, metric: Metric, file: _File, known: _Found) -> None:
    """Refuse a metric that the catalogue does not have so; its rules may differ."""
    own = known.metrics.get(name)
    if own is None or own.model_dump(exclude={"alerts"}) != metric.model_dump(exclude={"alerts"}):
        raise file.refused(
            ("metrics", name),
            "the catalogue has no such metric, so there are no windows of it; leave it out, and "
            "give each rule under `alerts` the name of its `metric`",
        )


def _found(folder: Path | None) -> _Found:
    found = _Found()
    _lay_over(found, SHIPPED)
    if folder is not None:
        if not folder.is_dir():
            raise CatalogueError(f"catalogue folder {folder} does not exist (NILO_CATALOGUE)")
        _lay_over(found, folder)
    return found


def _lay_over(found: _Found, folder: Path) -> None:
    """Take in a folder: what it names takes the place of what had the name before."""
    files = [_read(path) for path in sorted(folder.glob("*.yaml"))]
    metrics = dict(each for file in files for each in _metrics(file))
    # With a metric go its own rules: those that it still has are in its new list.
    for name in [name for name, (rule, *_) in found.rules.items() if rule.metric in metrics]:
        del found.rules[name]
    found.metrics |= metrics
    named: set[str] = set()
    for file in files:
        for rule, place in _rules(file):
            if rule.name in named:
                raise file.refused(place, f"there is another alert of the name {rule.name}")
            named.add(rule.name)
            found.rules[rule.name] = rule, file, place
    found.names |= named


def _read(path: Path) -> _File:
    try:
        content = path.read_text()
        tree, values = yaml.compose(content, yaml.SafeLoader), yaml.safe_load(content)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise CatalogueError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict) or not values or set(values) - _KEYS:
        raise CatalogueError(f"{path}:1: a catalogue file has the keys `metrics`, `alerts`, or one")
    if not isinstance(values.get("metrics", {}), dict):
        raise CatalogueError(f"{path}:1: `metrics` maps names to metrics")
    if not isinstance(values.get("alerts", []), list):
        raise CatalogueError(f"{path}:1: `alerts` is a list of rules, each with its `metric`")
    return _File(path, tree, values)


def _metrics(file: _File) -> Iterator[tuple[str, Metric]]:
    for name, value in file.values.get("metrics", {}).items():
        place = ("metrics", str(name))
        metric = file.parsed(Metric, place, value)
        for where, message in metric.problems():
            raise file.refused((*place, *where), message)
        yield str(name), metric


def _rules(file: _File) -> Iterator[tuple[Rule, _Place]]:
    """The rules of the metrics, and those that stand by themselves and name their metric."""
    for name, value in file.values.get("metrics", {}).items():
        for number, each in enumerate(value.get("alerts", [])):
            place = ("metrics", str(name), "alerts", number)
            yield file.parsed(Rule, place, {**each, "metric": str(name)}), place
    for number, each in enumerate(file.values.get("alerts", [])):
        yield file.parsed(Rule, ("alerts", number), each), ("alerts", number)


def _check(
    rule: Rule, file: _File, place: _Place, metrics: dict[str, Metric], names: set[str]
) -> None:
    for key, message in rule_problems(rule, metrics):
        raise file.refused((*place, key), message)
    for hidden in rule.hides:
        if hidden not in names:
            raise file.refused((*place, "hides"), f"no alert has the name {hidden!r}")


def _check_runbook(rule: Rule, file: _File, place: _Place) -> None:
    book = rule.runbook
    if book is not None and not runbook_is_url(book) and not (file.path.parent / book).is_file():
        raise file.refused(
            (*place, "runbook"), f"no file {book!r} beside {file.path.name}, and no https:// either"
        )


def line_of(node: yaml.Node | None, place: _Place) -> int:
    """The 1-based line of the deepest node on the way to `place`."""
    line = 1
    for step in place:
        if isinstance(node, yaml.MappingNode):
            found = [(key, value) for key, value in node.value if key.value == str(step)]
            if not found:
                break
            line, node = found[0][0].start_mark.line + 1, found[0][1]
        elif (
            isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value)
        ):
            item: yaml.Node = node.value[step]
            line, node = item.start_mark.line + 1, item
        else:
            break
    return line
