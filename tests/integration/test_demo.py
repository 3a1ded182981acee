"""`nilo demo` on the session's servers: it ends with equal counts and a clean ledger."""

from __future__ import annotations

import re

import pytest

from nilo_cli.demo_count import Tally, count_kafka, end_offsets
from nilo_schemas.settings import Settings
from tests.integration.programs import nilo

pytestmark = pytest.mark.integration


def test_the_demo_reads_equal_counts_back_from_every_store(settings: Settings) -> None:
    done = nilo(settings, "demo", "--rate", "1000", "--seconds", "6", timeout=180)

    assert done.returncode == 0, done.stdout + done.stderr
    counts = re.findall(r"│ (?:emitted|in [\w ]+?) +│ +([\d,]+) │", done.stdout)
    assert len(counts) == 5
    assert len(set(counts)) == 1
    emitted = int(counts[0].replace(",", ""))
    ends = end_offsets(settings, "events.llm")
    assert count_kafka(settings, "events.llm", {p: (0, end) for p, end in ends.items()}) == emitted
    assert "nilo_llm_duration_p95_seconds{" in done.stdout
    assert "atlas-large" in done.stdout
    assert re.search(r"  clean: [\d,]+ rows in .*\n  sha256:[0-9a-f]{64}\n", done.stdout)


def test_one_event_missing_in_one_store_is_a_difference() -> None:
    """The verdict decides the exit code."""
    whole = Tally(emitted=5, kafka=5, postgres=5, parquet=5, windows=5, dead=0)
    missing = Tally(emitted=5, kafka=5, postgres=5, parquet=4, windows=5, dead=0)

    assert whole.agree()
    assert not missing.agree()
