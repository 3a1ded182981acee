"""Two recorded traces through the rules: few alerts, and their evidence is where they say."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from nilo_schemas.catalogue_files import load_catalogue
from tests.bench.trace_alerts import episodes, figures
from tests.bench.trace_engine import SECOND, Detected, detect
from tests.bench.trace_events import DATA, TRACES, batches
from tests.bench.traces import RULES

pytestmark = pytest.mark.skipif(not DATA.exists(), reason=f"no traces in {DATA}")


@pytest.fixture(scope="module", params=["azure", "web"])
def found(request: pytest.FixtureRequest) -> tuple[str, Detected]:
    """A trace, and what came of it."""
    trace = TRACES[request.param]
    topic = trace.family().kafka_topic
    return request.param, detect(load_catalogue(RULES), topic, batches(trace))


def test_real_traces_make_few_alerts(found: tuple[str, Detected]) -> None:
    """Though one is silent for minutes, and the other has a minute in each hour."""
    trace, detected = found
    rows, most = {"azure": (28_185, 12), "web": (9_999, 12)}[trace]
    told = figures(detected, load_catalogue(RULES))
    assert (told["events"], told["late"], told["capped"]) == (rows, 0, 0)
    assert 0 < told["episodes"] <= most
    # A stream that ends is silent once.
    silent = Counter(alert.rule for alert in episodes(detected) if alert.kind == "no_data")
    assert silent == ({"BenchLlmSilent": 2} if trace == "azure" else {})


def test_the_evidence_of_alerts_lies_in_their_windows(found: tuple[str, Detected]) -> None:
    _, detected = found
    alerts = [alert for alert in episodes(detected) if alert.kind != "no_data"]
    assert alerts
    for alert in alerts:
        assert alert.window_end
        start, end = (
            round(each.timestamp() * SECOND) for each in (alert.starts_at, alert.window_end)
        )
        assert alert.sources
        for source in alert.sources:
            times = np.concatenate(detected.times[source.partition])
            mine = times[[source.first_offset, source.last_offset]]
            assert (start <= mine).all()
            assert (mine < end).all()
