"""Every direct dependency is explained, and every explanation still has its dependency."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
NAME = re.compile(r"^[A-Za-z0-9._-]+")


def named(requirements: list[str]) -> set[str]:
    found = {match.group() for each in requirements if (match := NAME.match(each))}
    return found - {"nilometer"}


def test_each_dependency_has_one_line_with_its_licence() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = named(project["build-system"]["requires"]) | named(project["project"]["dependencies"])
    for extra in project["project"]["optional-dependencies"].values():
        wanted |= named(extra)
    rows = [
        [cell.strip() for cell in line.strip("|\n").split("|")]
        for line in (ROOT / "docs" / "dependencies.md").read_text().splitlines()
        if line.startswith("| `")
    ]
    assert sorted(row[0].strip("`") for row in rows) == sorted(wanted)
    assert all(len(row) == 4 and all(row) for row in rows)
