"""The data folder: where everything lies in it, and the small files that say what runs.

stack.json     marks the folder as ours; number of brokers, cluster id, ports (kept for good)
run.json       the addresses of a healthy stack, read by nilo_schemas.settings
run/NAME.json  pid and start time of one server, written right after its start
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from nilo_deploy.errors import HomeError
from nilo_schemas.settings import RUN_FILE

Part = Literal["kafka", "registry", "postgres"]
PARTS: tuple[Part, ...] = ("kafka", "registry", "postgres")
_FOLDERS = (*PARTS, "logs", "run")


def _new_cluster_id() -> str:
    """A Kafka UUID: 16 random bytes in base64; a leading dash would look like an option."""
    return "N" + secrets.token_urlsafe(16)[1:]


class Choices(BaseModel):
    """What was chosen for a data folder once and is kept over restarts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    brokers: int = Field(ge=1, le=3)
    cluster_id: str = Field(default_factory=_new_cluster_id)
    parts: tuple[Part, ...] = PARTS
    ports: dict[str, int] = Field(default_factory=dict)


@dataclass(frozen=True)
class Home:
    """Paths under one data folder."""

    root: Path

    @property
    def mark(self) -> Path:
        """The file that marks the folder as ours."""
        return self.root / "stack.json"

    @property
    def run_file(self) -> Path:
        """The file in which other programs find the addresses."""
        return self.root / RUN_FILE

    def pid_file(self, server: str) -> Path:
        """The file that holds a server's pid."""
        return self.root / "run" / f"{server}.json"

    def log(self, server: str) -> Path:
        """A server's log."""
        return self.root / "logs" / f"{server}.log"

    def folder(self, part: Part) -> Path:
        """The folder of one part's data."""
        return self.root / part


def write_json(path: Path, value: Any) -> None:
    """Write a private file (mode 0600) whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(value, file, indent=2)
        file.write("\n")
    temporary.replace(path)


def read_choices(home: Home) -> Choices | None:
    """The choices of a data folder; None when it is not ours (yet).

    Raises:
        HomeError: the file is damaged.
    """
    try:
        return Choices.model_validate_json(home.mark.read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError, UnicodeDecodeError) as error:
        reason = str(error).splitlines()[0]
        raise HomeError(
            f"{home.mark} is damaged ({reason}): restore it, or remove {home.root} and start anew"
        ) from None


def write_choices(home: Home, choices: Choices) -> None:
    """Mark the folder as ours and keep the choices.

    Raises:
        HomeError: the folder is not ours and already holds something under our names.
    """
    if not home.mark.exists():
        foreign = [name for name in _FOLDERS if (home.root / name).exists()]
        if foreign:
            raise HomeError(
                f"{home.root / foreign[0]} exists but was not made by `nilo up`: "
                "choose another folder with NILO_HOME"
            )
    write_json(home.mark, choices.model_dump(mode="json"))


def delete_data(home: Home) -> None:
    """Remove everything that the stack put into a folder marked as ours, and nothing else.

    Raises:
        HomeError: the folder is not marked as ours.
    """
    if not home.mark.is_file():
        raise HomeError(f"{home.root} holds no embedded stack (no {home.mark.name}): not deleted")
    home.run_file.unlink(missing_ok=True)
    for name in _FOLDERS:
        folder = home.root / name
        if folder.is_dir() and not folder.is_symlink():
            shutil.rmtree(folder)
    home.mark.unlink()  # last, so that an interrupted delete can be repeated


@contextmanager
def locked(path: Path, waiting: Callable[[], None]) -> Iterator[None]:
    """Hold a file lock; `waiting` is called once when somebody else holds it.

    The lock ends with the process, however it ends. The file itself stays: removing it would let
    two waiters hold two different files of one name.

    Raises:
        HomeError: the folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a")
    except OSError as error:
        raise HomeError(f"{path.parent} cannot be written: {error.strerror}") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waiting()
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
