"""Reads the catalogue: the shipped YAML files, and a folder of the user's laid over them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from nilo_schemas.catalogue import Catalogue, Metric
from nilo_schemas.errors import CatalogueError

SHIPPED = Path(__file__).parent / "catalogue"


def load_catalogue(folder: Path | None = None) -> Catalogue:
    """The shipped catalogue with the user's folder laid over it, metric by metric.

    Raises:
        CatalogueError: a file is refused; the text names file, line and reason.
    """
    metrics = dict(_folder(SHIPPED))
    if folder is not None:
        if not folder.is_dir():
            raise CatalogueError(f"catalogue folder {folder} does not exist (NILO_CATALOGUE)")
        metrics |= dict(_folder(folder))
    return Catalogue(metrics=metrics)


def _folder(folder: Path) -> Iterator[tuple[str, Metric]]:
    for path in sorted(folder.glob("*.yaml")):
        yield from _file(path)


def _file(path: Path) -> Iterator[tuple[str, Metric]]:
    try:
        content = path.read_text()
        tree, values = yaml.compose(content, yaml.SafeLoader), yaml.safe_load(content)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise CatalogueError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict) or set(values) != {"metrics"}:
        raise CatalogueError(f"{path}:1: a catalogue file has one key, `metrics`")
    if not isinstance(values["metrics"], dict):
        raise CatalogueError(f"{path}:1: `metrics` maps names to metrics")
    for name, value in values["metrics"].items():
        yield str(name), _metric(path, tree, str(name), value)


def _metric(path: Path, tree: yaml.Node | None, name: str, value: Any) -> Metric:
    try:
        metric = Metric.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise _refused(path, tree, (name, *first["loc"]), first["msg"]) from None
    for place, message in metric.problems():
        raise _refused(path, tree, (name, *place), message)
    return metric


def _refused(
    path: Path, tree: yaml.Node | None, place: tuple[str | int, ...], message: str
) -> CatalogueError:
    line = line_of(tree, ("metrics", *place))
    where = ".".join(str(step) for step in place)
    return CatalogueError(f"{path}:{line}: {where}: {message}")


def line_of(node: yaml.Node | None, place: tuple[str | int, ...]) -> int:
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
