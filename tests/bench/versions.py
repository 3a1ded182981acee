"""What a benchmark ran with."""

from __future__ import annotations

import platform
from importlib.metadata import version


def versions(*libraries: str) -> dict[str, str]:
    """Versions of Python, of Nilometer and of these libraries."""
    return {"python": platform.python_version()} | {
        name: version(name) for name in ("nilometer", *libraries)
    }
