"""Another version of the code in an environment of its own, kept for the next time."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from nilo_cli.errors import UsageError
from nilo_cli.output import tell
from nilo_schemas.errors import NiloError

_PARTS = "processors,consumers,cli"
_CODE = {".py", ".yaml", ".toml", ".avsc", ".sql", ".md"}
_LEFT_OUT = {".git", ".venv", "tests", "node_modules", "__pycache__"}
_LINES = 15


def python_of(home: Path, code: Path) -> Path:
    """The Python of an environment that has this version, made where it is missing.

    Args:
        home: where environments are kept.
        code: a wheel, or a checkout.

    Raises:
        UsageError: it is neither.
        NiloError: it cannot be installed.
    """
    folder = home / _digest(code)
    python = folder / "bin" / "python"
    if (folder / "done").exists():
        return python
    shutil.rmtree(folder, ignore_errors=True)
    tell(f"installing {code} into {folder}")
    # uv may be installed beside this Python, which need not be on the path.
    uv = shutil.which("uv", path=str(Path(sys.executable).parent)) or shutil.which("uv")
    wanted = f"nilometer[{_PARTS}] @ {code.resolve().as_uri()}"
    if uv:
        _do([uv, "venv", "--quiet", "--python", sys.executable, str(folder)])
        _do([uv, "pip", "install", "--quiet", "--python", str(python), wanted])
    else:
        _do([sys.executable, "-m", "venv", str(folder)])
        _do([str(python), "-m", "pip", "install", "--quiet", wanted])
    (folder / "done").touch()
    return python


def run_in(python: Path, words: Iterable[str], environment: Mapping[str, str]) -> None:
    """Run `nilo …` of that version to its end; raises NiloError when it fails."""
    _do([str(python), "-m", "nilo_cli", *words], os.environ | environment)


def _do(command: list[str], environment: Mapping[str, str] | None = None) -> None:
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        told = "\n".join((done.stderr or done.stdout).strip().splitlines()[-_LINES:])
        raise NiloError(f"{' '.join(command[:4])} … failed:\n{told}")


def _digest(code: Path) -> str:
    """What names a version: its content."""
    found = hashlib.sha256(sys.version.encode())
    if code.is_file() and code.suffix == ".whl":
        found.update(code.read_bytes())
    elif (code / "pyproject.toml").is_file():
        for path in sorted(_files(code)):
            found.update(str(path.relative_to(code)).encode())
            found.update(path.read_bytes())
    else:
        raise UsageError(f"--code {code}: neither a wheel nor a checkout (with pyproject.toml)")
    return found.hexdigest()[:16]


def _files(code: Path) -> Iterable[Path]:
    for root, folders, names in os.walk(code):
        folders[:] = [name for name in folders if name not in _LEFT_OUT]
        yield from (Path(root) / name for name in names if Path(name).suffix in _CODE)
