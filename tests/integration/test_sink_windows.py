"""Final windows in the stores, with what was known when; and stores without tables."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from nilo_consumers import (
    count_parquet,
    count_postgres,
    count_sqlite,
    windows_parquet,
    windows_postgres,
    windows_sqlite,
)
from nilo_schemas.results import Histogram, MetricWindow, SourceRange
from nilo_schemas.settings import Settings
from tests.integration.programs import wait_for
from tests.integration.sinking import (
    LLM,
    each_store,
    send,
    sinking,
)

pytestmark = [pytest.mark.integration, pytest.mark.topics("events.llm", "metrics.windows")]
T0 = datetime(2026, 1, 2, 3, 4, 5, 678901, UTC)
READ = {"postgres": windows_postgres, "parquet": windows_parquet, "sqlite": windows_sqlite}


def window(revision: int = 0, *, final: bool = True, **more: Any) -> MetricWindow:
    values: dict[str, Any] = {
        "metric": "llm.duration",
        "unit": "seconds",
        "window": "1m",
        "window_start": T0.replace(second=0, microsecond=0),
        "window_end": T0.replace(second=0, microsecond=0) + timedelta(minutes=1),
        "dimensions": {"provider": "p", "model": 'm "x"\\'},
        "count": 10 + revision,
        "errors": 1,
        "sum": 0.1 + 0.2,
        "min": None,
        "max": 1e300,
        "mean": 1 / 3,
        "rate": 10 / 60,
        "error_ratio": 0.1,
        "quantiles": {"p50": 0.1 + 0.7, "p95": 5e-324},
        "histogram": Histogram(scale=5, zero=1, negative=0, indexes=[-3, 4], counts=[2, 7]),
        "final": final,
        "revision": revision,
        "watermark": T0,
        "sources": [SourceRange(topic=LLM, partition=1, first_offset=5, last_offset=9)],
    }
    return MetricWindow(**(values | more))


@each_store
def test_final_windows_are_kept_with_what_was_known_when(settings: Settings, store: str) -> None:
    read = READ[store]
    other = window(dimensions={"provider": "q"})
    provisional = window(window="10s", final=False)
    first = window()
    send(settings, [provisional, first, other, first], partition=0)
    with sinking(store, settings):
        wait_for("first revision", lambda: len(read(settings, "llm.duration")) == 2)
        known = datetime.now(UTC)
        send(settings, [window(revision=1)], partition=0)
        wait_for("second", lambda: read(settings, "llm.duration")[0].revision == 1)

    newest = read(settings, "llm.duration", window="1m")
    assert len(newest) == 2
    assert all(each in newest for each in (window(revision=1), other))
    then = read(settings, "llm.duration", as_of=known, dimensions={"provider": "p"})
    assert then == [first]
    assert read(settings, "llm.duration", window="10s") == []
    assert read(settings, "llm.duration", until=first.window_start) == []
    assert len(read(settings, "llm.duration", since=first.window_start)) == 2


def test_counts_are_nought_where_there_is_no_table(settings: Settings) -> None:
    assert count_postgres(settings, LLM) == count_parquet(settings, LLM) == 0
    assert windows_postgres(settings, "x") == windows_parquet(settings, "x") == []
    assert count_sqlite(settings, LLM) == len(windows_sqlite(settings, "x")) == 0
