"""Alerts in the stores: rows, the ledger, the tiers, and what is erased."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from nilo_consumers import count_parquet, count_postgres
from nilo_consumers.audit.reconcile import reconcile
from nilo_consumers.erase import run as erasing
from nilo_consumers.lake import dataset, existing_table
from nilo_consumers.tiers.read import archived_rows
from nilo_consumers.tiers.run import run
from nilo_schemas.alerts import Alert
from nilo_schemas.settings import Settings
from tests.alerts import an_alert, publish
from tests.integration.sinking import COUNT, each_store, query, sinking, wait_count
from tests.integration.storing import noon

pytestmark = [
    pytest.mark.integration,
    pytest.mark.topics("alerts", "alerts.state", "alerts.silences", "events.llm"),
]
ALERTS = Alert.kafka_topic
STORES = ("postgres", "parquet", "sqlite")
LABELS = {"model": 'm "x"\\', "subject": "Zoë O'Brien"}


def from_postgres(settings: Settings) -> dict[str, Any]:
    (row,) = query(settings, "SELECT * FROM alerts")
    return row


def from_sqlite(settings: Settings) -> dict[str, Any]:
    with closing(sqlite3.connect(settings.sqlite_location)) as connection:
        connection.row_factory = sqlite3.Row
        row = dict(connection.execute("SELECT * FROM alerts").fetchone())
    nested = ("labels", "figures", "sources", "samples", "hides", "equal")
    return row | {name: json.loads(row[name]) for name in nested}


def from_parquet(settings: Settings) -> dict[str, Any]:
    table = existing_table(settings, ALERTS)
    assert table is not None
    (row,) = dataset(table).to_table().to_pylist()
    maps: dict[str, Any] = {name: dict(row[name]) for name in ("labels", "figures")}
    return {**row, **maps}


READ = {"postgres": from_postgres, "sqlite": from_sqlite, "parquet": from_parquet}


@each_store
def test_a_sink_takes_alerts_as_they_are_without_being_told(settings: Settings, store: str) -> None:
    alert = an_alert(labels=LABELS, figures={"p50": 1.5}, samples=["e1"], score=0.5, hides=["A"])
    publish(settings, [alert])
    with sinking(store, settings):
        wait_count(store, settings, 1, ALERTS)
    row = READ[store](settings)
    assert Alert.model_validate({name: row[name] for name in Alert.model_fields}) == alert


def test_alerts_are_found_by_their_fingerprint_through_an_index(settings: Settings) -> None:
    publish(settings, [an_alert()])
    with sinking("postgres", settings, topics=[ALERTS]):
        wait_count("postgres", settings, 1, ALERTS)
    found = query(
        settings,
        "SELECT indexdef FROM pg_indexes WHERE tablename = 'alerts' AND schemaname = %s",
        settings.database_schema,
    )
    (bloom,) = [each["indexdef"] for each in found if "bloom" in each["indexdef"]]
    assert "(id text_bloom_ops, fingerprint text_bloom_ops)" in bloom


@pytest.fixture
def landed(settings: Settings, tmp_path: Path) -> Settings:
    """Alerts of three days in all stores, of which one a day is about a subject."""
    moments = [noon(day) for day in (0, -5, -20)]
    alerts = [
        an_alert(time=time, starts_at=time, labels=labels)
        for time in moments
        for labels in (LABELS, {"model": "atlas"}, {"subject": "zoë o'brien"})
    ]
    publish(settings, alerts)
    for store in STORES:
        with sinking(store, settings, topics=[ALERTS]):
            wait_count(store, settings, 9, ALERTS)
    days = {"hot_days": 3, "warm_days": 10, "cold_days": 100}
    return settings.model_copy(update=days | {"archive": tmp_path / "archive"})


def assert_clean(settings: Settings) -> None:
    ledger = reconcile(settings, [ALERTS], stores=STORES)
    assert ledger.clean, ledger
    assert {each.topic for each in ledger.entries} == {ALERTS}
    assert {each.store for each in ledger.entries} == set(STORES)


def test_alerts_move_from_tier_to_tier_as_events_do(landed: Settings) -> None:
    assert_clean(landed)
    steps = list(run(landed, [ALERTS], noon().date(), dry_run=False))
    assert [step.refused for step in steps if step.refused] == []
    assert (count_postgres(landed, ALERTS), count_parquet(landed, ALERTS)) == (3, 6)
    rows = list(archived_rows(landed, ALERTS, noon(-20).date()))
    kept = [Alert.from_avro({name: row[name] for name in Alert.model_fields}) for row in rows]
    assert {alert.time for alert in kept} == {noon(-20)}
    assert sorted(alert.labels.get("subject", "") for alert in kept) == [
        "",
        "Zoë O'Brien",
        "zoë o'brien",
    ]
    assert_clean(landed)


def test_the_alerts_of_a_subject_leave_every_store(landed: Settings) -> None:
    list(run(landed, [ALERTS], noon().date(), dry_run=False))
    receipt = erasing.erase(landed, "Zoë O'Brien")
    assert [line.left for line in receipt.left] == []
    erased = {line.place: line.rows for line in receipt.lines if line.topic == ALERTS}
    assert erased["postgres"] == 1
    assert erased["sqlite"] == 3
    assert COUNT["sqlite"](landed, ALERTS) == 6
    assert (count_postgres(landed, ALERTS), count_parquet(landed, ALERTS)) == (2, 4)
    assert len(list(archived_rows(landed, ALERTS, noon(-20).date()))) == 2
    left = erasing.count(landed, "Zoë O'Brien")
    assert {line.place for line in left.lines if line.rows} == {"kafka"}
    assert_clean(landed)
