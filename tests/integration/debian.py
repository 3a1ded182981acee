"""Programs of Debian packages, unpacked into the user's cache: nothing is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "nilometer" / "debian"


def program(name: str, package: str) -> str:
    """The path of a program: on PATH, else out of its package; skips where there is neither."""
    found = shutil.which(name) or shutil.which(name, path=_bin(package))
    if found is None and shutil.which("apt-get") and shutil.which("dpkg-deb"):
        _unpack(package)
        found = shutil.which(name, path=_bin(package))
    if found is None:
        pytest.skip(f"{name} is neither on PATH nor to be had from Debian's package {package}")
    return found


def in_its_place(program: str, package: str) -> list[str]:
    """The words that run a program which looks for files of its package under /usr/share.

    Where it is only unpacked, it gets them there in a mount namespace of its own; skips where
    there are none to be had.
    """
    share = CACHE / package / "usr" / "share"
    if not program.startswith(str(CACHE)):
        return [program]
    alone = ["unshare", "--user", "--map-root-user", "--mount", "--"]
    if shutil.which("unshare") is None or not _run(CACHE, *alone, "true"):
        pytest.skip(f"{program} needs a mount namespace, and there are none here")
    return [*alone, "sh", "-c", 'mount --bind "$0" /usr/share && exec "$@"', str(share), program]


def _bin(package: str) -> str:
    return str(CACHE / package / "usr" / "bin")


def _unpack(package: str) -> None:
    folder = CACHE / f"{package}.{os.getpid()}"  # whole or not at all, whoever else does the same
    folder.mkdir(parents=True, exist_ok=True)
    try:
        if not _download(package, folder):
            _run(folder, "apt-get", "update", "-qq")
            _download(package, folder)
        for archive in folder.glob("*.deb"):
            _run(folder, "dpkg-deb", "-x", str(archive), str(folder))
            archive.unlink()
            folder.rename(CACHE / package)
    except OSError:
        if not (CACHE / package).exists():
            raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _download(package: str, folder: Path) -> bool:
    return _run(folder, "apt-get", "download", "-qq", package)


def _run(folder: Path, *command: str) -> bool:
    try:
        subprocess.run(command, cwd=folder, capture_output=True, timeout=120, check=True)
    except subprocess.SubprocessError:
        return False
    return True
