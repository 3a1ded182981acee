"""`nilo …` in processes that are forked from one which has imported everything.

A process of its own for each call, with its arguments, environment, input, output and exit code, as
from a shell; but what it imports takes two seconds of CPU, and the tests call it hundreds of times.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

_IMPORTED = [
    *("nilo_cli.main", "nilo_cli.audit", "nilo_cli.erase", "nilo_cli.export", "nilo_cli.tail"),
    *("nilo_cli.rerun.asking", "nilo_consumers", "nilo_producers", "nilo_deploy"),
    *("nilo_stream_processors.worker", "nilo_consumers.alerts.notify"),
    *("nilo_consumers.dlq.redrive", "nilo_consumers.dlq.shown"),
    *("nilo_cli.replays.running", "nilo_cli.replays.report", "nilo_cli.replays.repair"),
]
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(_IMPORTED)


class Forked:
    """`nilo …` while it runs, with what of `subprocess.Popen` the tests use.

    Args:
        words: its arguments.
        files: what it reads, and where it writes its output and its errors, at the end of them.
    """

    def __init__(
        self, words: Sequence[str], environment: Mapping[str, str], files: tuple[Path, Path, Path]
    ) -> None:
        self._process = _CONTEXT.Process(
            target=_become, args=(list(words), dict(environment), Path.cwd(), files)
        )
        self._process.start()
        self.args = ["nilo", *words]
        self.pid = self._process.pid or 0

    @property
    def returncode(self) -> int | None:
        """How it ended, if it has; a signal is a negative number."""
        return self._process.exitcode

    def poll(self) -> int | None:
        """The same."""
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; raises subprocess.TimeoutExpired."""
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        """Send a signal, if it still runs."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it."""
        self.send_signal(signal.SIGKILL)


def nilo_forked(
    words: Sequence[str], environment: Mapping[str, str], *, stdin: str = "", timeout: float
) -> subprocess.CompletedProcess[str]:
    """Run `nilo …` to its end.

    Raises:
        subprocess.TimeoutExpired: it did not come to it in time, and was killed.
    """
    with tempfile.TemporaryDirectory() as folder:
        given, out, err = (Path(folder, name) for name in ("stdin", "stdout", "stderr"))
        given.write_text(stdin)
        program = Forked(words, environment, (given, out, err))
        try:
            code = program.wait(timeout)
        except subprocess.TimeoutExpired as late:
            program.kill()
            program.wait()
            raise subprocess.TimeoutExpired(
                late.cmd, late.timeout, out.read_text(), err.read_text()
            ) from None
        return subprocess.CompletedProcess(program.args, code, out.read_text(), err.read_text())


def _become(
    words: list[str], environment: dict[str, str], folder: Path, files: tuple[Path, Path, Path]
) -> None:
    """Be the program: never returns."""
    from nilo_cli.main import run  # noqa: PLC0415  in the process that has it already

    appended = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    for number, (path, flags) in enumerate(
        zip(files, (os.O_RDONLY, appended, appended), strict=True)
    ):
        os.dup2(os.open(path, flags, 0o600), number)
    sys.stdin, sys.stdout, sys.stderr = (
        open(number, mode, encoding="utf-8", closefd=False)  # noqa: SIM115  for good
        for number, mode in enumerate("rww")
    )
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.argv = ["nilo", *words]
    run()
