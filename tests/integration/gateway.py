"""The push gateway of Debian, run as a process."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from tests.integration.debian import program
from tests.integration.programs import wait_for
from tests.integration.sinking import get


@contextmanager
def gateway(port: str) -> Iterator[str]:
    """A push gateway that runs while the block does."""
    path = program("prometheus-pushgateway", "prometheus-pushgateway")
    process = subprocess.Popen(
        [path, f"--web.listen-address=127.0.0.1:{port}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        wait_for("push gateway", lambda: _answers(url))
        yield url
    finally:
        process.terminate()
        process.wait(30)


def _answers(url: str) -> bool:
    try:
        return get(f"{url}/-/ready")[0] == 200
    except OSError:
        return False
