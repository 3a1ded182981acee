"""The fixture of the suite: every sink in its turn."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from nilo_consumers.run import SINKS
from nilo_schemas.settings import Settings
from tests.integration.conformance.case import Case
from tests.integration.conformance.pages import Influx, Prometheus, Pushgateway
from tests.integration.conformance.tables import Parquet, Postgres, Sqlite

CASES: dict[str, type[Case]] = {
    case.name: case for case in (Postgres, Parquet, Sqlite, Influx, Pushgateway, Prometheus)
}


@pytest.fixture(params=SINKS)
def case(
    request: pytest.FixtureRequest, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Case]:
    """A sink with its store; the test is skipped where its fact has no meaning for the sink."""
    wanted = CASES[request.param]
    if why := wanted.without.get(request.node.originalname):
        pytest.skip(why)
    with closing(wanted(settings, monkeypatch)) as made:
        yield made
