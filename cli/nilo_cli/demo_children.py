"""The programs that the demo starts: the processors and the three sinks, as a user would."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Self

from nilo_deploy.ports import free_port
from nilo_schemas.errors import NiloError
from nilo_schemas.settings import Settings

READY_SECONDS = 60.0
STOP_SECONDS = 15.0
PROGRAMS = {
    "processors": ["process"],
    "postgres": ["sink", "postgres"],
    "parquet": ["sink", "parquet"],
    "prometheus": ["sink", "prometheus"],
}


class ChildError(NiloError):
    """A program of the demo did not start or has stopped; its log says why."""


class Children:
    """Runs the programs of the demo; stops them at the end."""

    def __init__(self, settings: Settings) -> None:
        self._environment = os.environ | settings.environment()
        self._logs = settings.home / "logs"
        self._ports = {name: free_port() for name in PROGRAMS}
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def prometheus_url(self) -> str:
        """Where the Prometheus sink serves."""
        return f"http://127.0.0.1:{self._ports['prometheus']}/metrics"

    def __enter__(self) -> Self:
        self._logs.mkdir(parents=True, exist_ok=True)
        for name, words in PROGRAMS.items():
            port = ["--metrics-port", str(self._ports[name])]
            command = [sys.executable, "-m", "nilo_cli", *words, *port]
            with self._log(name).open("wb") as log:
                self._running[name] = subprocess.Popen(
                    command, env=self._environment, stdout=log, stderr=log
                )
        return self

    def wait_ready(self) -> None:
        """Wait until all are healthy; raises ChildError when one is not in time."""
        deadline = time.monotonic() + READY_SECONDS
        for name, port in self._ports.items():
            while not _healthy(port):
                self.check()
                if time.monotonic() > deadline:
                    raise ChildError(f"{name} is not ready; see {self._log(name)}")
                time.sleep(0.2)

    def check(self) -> None:
        """Raise ChildError when a program has stopped."""
        for name, process in self._running.items():
            if process.poll() is not None:
                last = self._log(name).read_text(errors="replace").strip().splitlines()[-1:]
                raise ChildError(
                    f"{name} stopped with exit code {process.returncode}: "
                    f"{' '.join(last)} (log: {self._log(name)})"
                )

    def _log(self, name: str) -> Path:
        return self._logs / f"demo-{name}.log"

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for process in self._running.values():
            process.terminate()
        for process in self._running.values():
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _healthy(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
