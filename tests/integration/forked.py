"""`nilo …` in processes that are forked from one which has imported everything.

A process of its own for each call, with its arguments, environment, input and exit code, as from a
shell; but what it imports takes two seconds of CPU, and the tests call it hundreds of times.
"""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

_IMPORTED = [
    *("nilo_cli.main", "nilo_cli.audit", "nilo_cli.erase", "nilo_cli.export", "nilo_cli.tail"),
    *("nilo_cli.rerun.asking", "nilo_consumers", "nilo_producers", "nilo_deploy"),
]
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(_IMPORTED)


def nilo_forked(
    words: Sequence[str], environment: Mapping[str, str], *, stdin: str = "", timeout: float
) -> subprocess.CompletedProcess[str]:
    """Run `nilo …` to its end.

    Raises:
        subprocess.TimeoutExpired: it did not come to it in time, and was killed.
    """
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder, name) for name in ("stdin", "stdout", "stderr")]
        paths[0].write_text(stdin)
        process = _CONTEXT.Process(
            target=_become, args=(list(words), dict(environment), Path.cwd(), paths)
        )
        process.start()
        process.join(timeout)
        late = process.exitcode is None
        if late:
            process.kill()
            process.join()
        out, err = (path.read_text() if path.exists() else "" for path in paths[1:])
        if late:
            raise subprocess.TimeoutExpired(["nilo", *words], timeout, out, err)
        assert process.exitcode is not None
        return subprocess.CompletedProcess(["nilo", *words], process.exitcode, out, err)


def _become(words: list[str], environment: dict[str, str], folder: Path, paths: list[Path]) -> None:
    """Be the program: never returns."""
    from nilo_cli.main import run  # noqa: PLC0415  in the process that has it already

    for number, (path, flags) in enumerate(
        zip(paths, (os.O_RDONLY, *[os.O_WRONLY | os.O_CREAT] * 2), strict=True)
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
