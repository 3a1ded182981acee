"""An S3 object store: moto's server, a fake, as no real one is in the package registries.

It answers conditional writes as S3 does, and these are what two writers of a Delta table need.
"""

from __future__ import annotations

import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

from tests.integration.programs import free_port, wait_for

NAME = "lake"


@contextmanager
def bucket() -> Iterator[dict[str, str]]:
    """A server with a bucket `NAME` while the block runs; the variables by which it is found."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    process = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", port],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for("object store", lambda: _made(url))
        yield {
            "AWS_ENDPOINT_URL": url,
            "AWS_ALLOW_HTTP": "true",
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "nobody",
            "AWS_SECRET_ACCESS_KEY": "asks",
        }
    finally:
        process.terminate()
        process.wait(30)


def _made(url: str) -> bool:
    request = urllib.request.Request(f"{url}/{NAME}", method="PUT")
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
