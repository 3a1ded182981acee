"""Processes that outlive us: start, find again, stop."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nilo_deploy.errors import ServerError
from nilo_deploy.parts import psutil
from nilo_deploy.state import write_json

_LOG_LIMIT = 10_000_000  # bytes; a longer log is set aside at the next start
_SAME_START = 2.0  # seconds; the clock from which start times are computed may be adjusted a little
# Popen objects of the servers that this process started: without them a dead server stays a zombie
_children: dict[int, subprocess.Popen[bytes]] = {}


@dataclass(frozen=True)
class Command:
    """A program to run; `owner` is the uid and gid it runs as, None for ours."""

    argv: Sequence[str]
    cwd: Path
    env: Mapping[str, str]
    owner: tuple[int, int] | None = None

    def environment(self) -> dict[str, str]:
        """A clean environment: the servers must not see our settings, nor anybody's secrets."""
        kept = ("PATH", "HOME", "TZ", "TMPDIR")
        base = {name: os.environ[name] for name in kept if name in os.environ}
        return {**base, "LANG": "C.UTF-8", **self.env}

    def uid(self) -> int | None:
        """The user it runs as, for Popen."""
        return None if self.owner is None else self.owner[0]

    def gid(self) -> int | None:
        """The group it runs as, for Popen."""
        return None if self.owner is None else self.owner[1]

    def groups(self) -> list[int] | None:
        """Its other groups, for Popen: none when it runs as somebody else."""
        return None if self.owner is None else []


@dataclass(frozen=True)
class Identity:
    """One process: the start time tells it from a later process with the same pid."""

    pid: int
    started: float  # seconds since the epoch, as psutil tells it


def run(command: Command, doing: str, stdin: str = "") -> str:
    """Run a program to its end and return its output.

    Raises:
        ServerError: it failed; `doing` says what was tried.
    """
    with tempfile.TemporaryFile("w+") as output:
        done = subprocess.run(
            command.argv,
            cwd=command.cwd,
            env=command.environment(),
            input=stdin,
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            user=command.uid(),
            group=command.gid(),
            extra_groups=command.groups(),
        )
        output.seek(0)
        text = output.read()
    if done.returncode != 0:
        raise ServerError(f"{doing} failed (exit code {done.returncode}):{last_lines(text)}")
    return text


def start(command: Command, log: Path, pid_file: Path) -> Identity:
    """Start a server in a session of its own and write its pid file."""
    log.parent.mkdir(parents=True, exist_ok=True)
    if log.exists() and log.stat().st_size > _LOG_LIMIT:
        log.replace(log.with_suffix(".log.1"))
    with log.open("ab") as output:
        child = subprocess.Popen(
            command.argv,
            cwd=command.cwd,
            env=command.environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            user=command.uid(),
            group=command.gid(),
            extra_groups=command.groups(),
        )
    _children[child.pid] = child
    identity = Identity(child.pid, psutil.Process(child.pid).create_time())
    write_json(pid_file, {"pid": identity.pid, "started": identity.started})
    return identity


def find(pid_file: Path) -> Identity | None:
    """The running process of a pid file; None when it is gone, a zombie or somebody else's."""
    try:
        values = json.loads(pid_file.read_text())
        identity = Identity(int(values["pid"]), float(values["started"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return identity if alive(identity) else None


def alive(identity: Identity) -> bool:
    """Whether this very process still runs."""
    child = _children.get(identity.pid)
    if child is not None:
        child.poll()
    try:
        process = psutil.Process(identity.pid)
        return (
            abs(process.create_time() - identity.started) < _SAME_START
            and process.status() != psutil.STATUS_ZOMBIE
        )
    except psutil.NoSuchProcess:
        return False


def stop(identities: Mapping[Identity, signal.Signals], limit: float) -> list[Identity]:
    """Signal all at once, wait, kill those that remain after `limit` seconds; returns the killed.

    A killed server takes its children with it (PostgreSQL's own processes).
    """
    processes = {}
    for identity, number in identities.items():
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(identity.pid)
            if alive(identity):
                process.send_signal(number)
                processes[process] = identity
    _, remaining = psutil.wait_procs(list(processes), timeout=limit)
    for process in remaining:
        _kill_tree(process)
    for identity in identities:
        child = _children.pop(identity.pid, None)
        if child is not None:
            child.poll()
    return [processes[process] for process in remaining]


def _kill_tree(process: psutil.Process) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        family = [process, *process.children(recursive=True)]
        for member in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                member.kill()
        psutil.wait_procs(family, timeout=5)


def last_lines(text: str, count: int = 6) -> str:
    """The last telling lines of a log, indented under the error; no frames of stack traces."""
    lines = [
        line.rstrip()
        for line in text.splitlines()
        if line.strip() and not line.lstrip().startswith(("at ", "... "))
    ]
    return "".join(f"\n  {line[:300]}" for line in lines[-count:])


def last_lines_of(log: Path) -> str:
    """The last telling lines of a log file."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 20_000))
            return last_lines(file.read().decode(errors="replace"))
    except OSError:
        return ""
