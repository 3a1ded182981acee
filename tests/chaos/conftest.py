"""The fixtures of tests/integration, on a stack of this folder's own.

Its broker is killed, which nobody else's test should have to bear; and it is gone before the
stack of the session starts.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import pytest

from nilo_schemas.settings import Settings
from tests.integration import conftest as shared

own, topics, settings = shared.own, shared.topics, shared.settings


@pytest.fixture(scope="package")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Settings that reach a running broker, registry and database."""
    yield from inspect.unwrap(shared.stack)(tmp_path_factory)
