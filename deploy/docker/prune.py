"""Uninstall what `nilo process` and the sinks do not need.

The one lock holds the development tools and the embedded servers as well; they have no place in
an image. Usage: python prune.py DISTRIBUTION[EXTRA,…], in the environment to be pruned.
"""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import distribution, distributions

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


def needed(root: Requirement) -> set[str]:
    """Names of the installed distributions that a requirement needs, itself included.

    Args:
        root: a distribution, with the extras that count.
    """
    seen: set[tuple[str, frozenset[str]]] = set()
    todo = [root]
    while todo:
        wanted = todo.pop()
        extras = frozenset(wanted.extras)
        key = (canonicalize_name(wanted.name), extras)
        if key not in seen:
            seen.add(key)
            todo += _requirements(wanted.name, extras)
    return {name for name, _ in seen}


def _requirements(name: str, extras: frozenset[str]) -> list[Requirement]:
    parsed = [Requirement(line) for line in distribution(name).requires or ()]
    return [
        one
        for one in parsed
        if one.marker is None
        or any(one.marker.evaluate({"extra": extra}) for extra in extras | {""})
    ]


if __name__ == "__main__":
    keep = needed(Requirement(sys.argv[1])) | {"pip"}
    installed = {canonicalize_name(one.metadata["Name"]) for one in distributions()}
    subprocess.run(
        [sys.executable, "-m", "pip", "uninstall", "--yes", "--quiet", *sorted(installed - keep)],
        check=True,
    )
