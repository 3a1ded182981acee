"""Nothing lost, nothing twice though sinks die: the short form of `python -m tests.chaos.sinks`."""

from __future__ import annotations

from pathlib import Path

import pytest

from nilo_schemas.settings import Settings
from tests.chaos.faults import to_stderr
from tests.chaos.load import Load
from tests.chaos.sinks import run_round

pytestmark = pytest.mark.integration


def test_the_ledger_is_clean_though_sinks_die_under_load(
    settings: Settings, tmp_path: Path
) -> None:
    """Two sinks of each store, killed and stopped at random moments."""
    load = Load(1500, 12, "short")

    outcome = run_round(settings, load, 5, tmp_path / "logs", to_stderr, away=False)

    assert outcome.ends == []
    assert outcome.ledger.clean, outcome.ledger.certificate()
    assert {line.store for line in outcome.ledger.entries} == {"postgres", "parquet", "sqlite"}
    assert sum(line.rows for line in outcome.ledger.entries) == 3 * outcome.sent == 3 * 18_000
