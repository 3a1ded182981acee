"""`nilo tiers run` on windows: both stores keep the same, and the ledger knows what went."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from nilo_consumers import count_parquet, count_postgres
from nilo_consumers.audit.ledger import Entry
from nilo_consumers.audit.reconcile import reconcile
from nilo_consumers.audit.spans import count
from nilo_consumers.delta import DeltaSink
from nilo_consumers.lake import existing_table
from nilo_consumers.postgres import PostgresSink
from nilo_consumers.postgres_days import days_made, make_day
from nilo_consumers.tiers.run import run
from nilo_consumers.tiers.told import Step
from nilo_consumers.tiers.windows.hot import HotWindows
from nilo_consumers.tiers.windows.warm import WarmWindows
from nilo_schemas.codec import encode
from nilo_schemas.registry import Registry
from nilo_schemas.results import MetricWindow
from nilo_schemas.settings import Settings
from tests.integration.programs import nilo, wait_for
from tests.integration.sinking import produce, query, sinking, wait_count
from tests.integration.storing import database, rows_by_day, storing
from tests.killing import killed_until_done
from tests.old_windows import WINDOWS, a_day, random_windows, staying, window, windows_batch

pytestmark = [pytest.mark.integration, pytest.mark.topics("metrics.windows")]
STORES = ("postgres", "parquet")
USUAL = ("1m", "5m", "1h", "1d")


def today() -> date:
    return datetime.now(UTC).date()


def ago(days: int) -> date:
    return today() - timedelta(days=days)


def aged(settings: Settings, *words: str) -> list[dict[str, Any]]:
    """The steps of `nilo tiers run` on the windows."""
    done = nilo(settings, "tiers", "run", "--topic", WINDOWS, "--json", *words)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def moved(settings: Settings, *, dry_run: bool = False) -> list[dict[str, Any]]:
    """As `aged`, in this process."""
    steps = run(settings, [WINDOWS], today(), dry_run=dry_run)
    return [asdict(step) | {"event_date": str(step.event_date)} for step in steps]


def told(steps: Iterable[dict[str, Any]]) -> list[tuple[str, int, str | None, int]]:
    """Step, age in days, length, rows."""
    return [
        (
            each["step"],
            (today() - date.fromisoformat(each["event_date"])).days,
            each["window"],
            each["rows"],
        )
        for each in steps
    ]


@contextmanager
def both_sinks(settings: Settings) -> Iterator[None]:
    """The sinks of both stores run meanwhile."""
    with ExitStack() as running:
        for store in STORES:
            running.enter_context(sinking(store, settings, topics=[WINDOWS], wait=False))
        yield


def wait_rows(settings: Settings, postgres: int, parquet: int) -> None:
    for store, rows in zip(STORES, (postgres, parquet), strict=True):
        wait_count(store, settings, rows, WINDOWS)


def rows(settings: Settings) -> list[int]:
    return [count_postgres(settings, WINDOWS), count_parquet(settings, WINDOWS)]


def write(settings: Settings, windows: Sequence[MetricWindow]) -> None:
    """Without Kafka into both stores."""
    for sink in (PostgresSink(settings), DeltaSink(settings)):
        sink.connect([(settings.topic_prefix + WINDOWS, number) for number in (0, 1)])
        sink.write(windows_batch(settings, windows))
        sink.close()


def publish(settings: Settings, windows: Sequence[MetricWindow], **more: Any) -> None:
    schema_id = Registry(settings).schema_id(MetricWindow)
    produce(settings, WINDOWS, [encode(each, schema_id) for each in windows], **more)


def audited(settings: Settings) -> dict[str, list[Entry]]:
    """The lines of the ledger, by store."""
    lines = reconcile(settings, [WINDOWS], stores=STORES).entries
    return {store: [line for line in lines if line.store == store] for store in STORES}


def absent(lines: Iterable[Entry], reason: str = "expired") -> int:
    return sum(line.absent.get(reason, 0) for line in lines)


def missing(lines: Iterable[Entry]) -> int:
    return sum(count(line.missing) for line in lines)


def clean(ledger: dict[str, list[Entry]]) -> bool:
    return all(line.clean for lines in ledger.values() for line in lines)


def in_postgres(settings: Settings) -> list[Any]:
    """The windows there, by what tells them from others."""
    rows = query(
        settings,
        'SELECT metric, "window", window_start, dimensions, revision FROM metrics_windows',
    )
    return sorted(tuple(map(_text, row.values())) for row in rows)


def in_lake(settings: Settings) -> list[Any]:
    table = existing_table(settings, WINDOWS)
    assert table is not None
    names = ["metric", "window", "window_start", "dimensions", "revision"]
    rows = table.to_pyarrow_dataset().to_table(columns=names).to_pylist()
    return sorted(tuple(map(_text, row.values())) for row in rows)


def keys(windows: Iterable[MetricWindow]) -> list[Any]:
    names = ("metric", "window", "window_start", "dimensions", "revision")
    return sorted(tuple(_text(getattr(each, name)) for name in names) for each in windows)


def _text(value: Any) -> str:
    if isinstance(value, list | dict):
        return str(sorted(dict(value).items()))
    return str(value.astimezone(UTC) if isinstance(value, datetime) else value)


def test_both_stores_keep_what_a_look_at_every_window_leaves(own: Settings) -> None:
    """Days with partitions of their own, which go in the end, and days without."""
    own = own.model_copy(update={"hot_days_by_topic": f"{WINDOWS}=366"})
    seed = random.randrange(10**6)
    windows = random_windows(seed, today())
    write(own, windows)
    assert ago(366) in rows_by_day(own, WINDOWS)
    planned = aged(own, "--dry-run")
    assert in_postgres(own) == in_lake(own) == keys(windows)
    done = aged(own, "--yes")

    wanted = keys(staying(windows, today()))
    assert in_postgres(own) == wanted, f"seed {seed}"
    assert in_lake(own) == wanted, f"seed {seed}"
    assert done == planned
    assert sum(each["rows"] for each in done) == 2 * (len(windows) - len(wanted))
    with database(own) as connection:
        left = connection.execute("SELECT to_regclass(%s)", [f"metrics_windows_{ago(366):%Y%m%d}"])
        assert left.fetchone() == (None,)
    assert moved(own) == []


def test_the_ledger_knows_what_went_and_finds_what_was_lost(settings: Settings) -> None:
    """Also of provisional windows, of those that come again, and of what came later."""
    old, older = a_day(ago(8), USUAL), a_day(ago(40), USUAL)
    draft = [each.model_copy(update={"final": False}) for each in old]
    late = [each.model_copy(update={"revision": 1}) for each in old if each.window == "1m"]
    with both_sinks(settings):
        publish(settings, [*draft, *old, *older])
        publish(settings, [old[0]] * 2, partition=len(draft) % settings.partitions)  # again, there
        wait_rows(settings, 26, 28)
        steps = aged(settings, "--yes")
        ledger = audited(settings)
        publish(settings, late)
        wait_rows(settings, 18, 18)

    assert told(steps) == [
        ("drop from hot", 40, "1m", 4),
        ("drop from hot", 40, "5m", 4),
        ("drop from hot", 8, "1m", 4),
        ("delete from lake", 40, "1m", 4),
        ("delete from lake", 40, "5m", 4),
        ("delete from lake", 8, "1m", 6),
    ]
    assert clean(ledger)
    assert [absent(ledger[store]) for store in STORES] == [12, 14]
    assert [absent(ledger[store], "provisional") for store in STORES] == [13, 13]
    assert absent(ledger["postgres"], "repeated") == 2
    assert clean(audited(settings))
    lose(settings, "\"window\" = '5m'")
    lose(settings, "\"window\" = '1m' AND revision = 1")
    ledger = audited(settings)
    assert [missing(ledger[store]) for store in STORES] == [8, 8]
    assert [absent(ledger[store]) for store in STORES] == [12, 14]


def lose(settings: Settings, where: str) -> None:
    """Rows go from both stores that nobody was to take."""
    query(settings, f"DELETE FROM metrics_windows WHERE {where}")
    table = existing_table(settings, WINDOWS)
    assert table is not None
    table.delete(where)


def test_windows_come_while_others_go(settings: Settings) -> None:
    """The sinks run, and what they write is of the very days: none is lost, none stays for good."""
    days = [each for age in (8, 9, 10) for each in a_day(ago(age), USUAL)]
    sent, steps = list(days), list[Step]()
    with both_sinks(settings):
        publish(settings, days)
        wait_rows(settings, 39, 39)
        for number, step in enumerate(run(settings, [WINDOWS], today(), dry_run=False), 1):
            steps.append(step)
            more = [each.model_copy(update={"revision": number}) for each in days]
            publish(settings, more)
            sent += more
        wait_for("the sinks", lambda: not any(line.behind for line in lines_of(settings)))
        between = audited(settings)
        again = moved(settings)

    assert {step.refused for step in steps} == {None}
    assert clean(between)
    assert {(each["window"], each["refused"]) for each in again} == {("1m", None)}
    ledger = audited(settings)
    assert clean(ledger)
    minutes = sum(each.window == "1m" for each in sent)
    assert [absent(ledger[store]) for store in STORES] == [minutes, minutes]
    assert rows(settings) == [len(sent) - minutes] * 2


def lines_of(settings: Settings) -> list[Entry]:
    return [line for lines in audited(settings).values() for line in lines]


def test_a_run_that_ends_between_record_and_rows_is_finished_by_the_next(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows that have been noted as gone and are there are rows."""
    with both_sinks(settings):
        publish(settings, [*a_day(ago(8), USUAL), *a_day(ago(9), USUAL)])
        wait_rows(settings, 26, 26)

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    found = []
    for store in (HotWindows, WarmWindows):
        with monkeypatch.context() as patched:
            patched.setattr(store, "remove", killed)
            with pytest.raises(KeyboardInterrupt):
                list(run(settings, [WINDOWS], today(), dry_run=False))
        ledger = audited(settings)
        found.append((clean(ledger), [absent(ledger[name]) for name in STORES], rows(settings)))
    moved(settings)

    assert found == [(True, [0, 0], [26, 26]), (True, [8, 0], [18, 26])]
    ledger = audited(settings)
    assert clean(ledger)
    assert [absent(ledger[name]) for name in STORES] == [8, 8]
    assert rows(settings) == [18, 18]


def test_runs_that_are_killed_at_random_moments_leave_a_clean_ledger(settings: Settings) -> None:
    seed = random.randrange(10**6)
    days = [ago(age) for age in (7, 8, 31, 91, 366)]
    windows = [each for each in random_windows(seed, today()) if each.window_start.date() in days]
    with both_sinks(settings):
        publish(settings, windows)
        wait_rows(settings, len(windows), len(windows))
    words = ["-m", "nilo_cli", "tiers", "run", "--yes", "--topic", WINDOWS]
    for told_by in killed_until_done(words, settings.environment(), least=1.0):
        assert clean(audited(settings)), f"windows of {seed}; {told_by}"

    wanted = keys(staying(windows, today()))
    assert in_postgres(settings) == in_lake(settings) == wanted, f"seed {seed}"
    gone = len(windows) - len(wanted)
    ledger = audited(settings)
    assert [absent(ledger[store]) for store in STORES] == [gone, gone]
    assert moved(settings) == []


def test_the_lengths_are_shown_with_what_goes_next(own: Settings) -> None:
    windows = [*a_day(ago(2), USUAL), window("session 5m", datetime.now(UTC))]
    write(own, windows)
    done = nilo(own, "tiers", "show", "--topic", WINDOWS, "--json")
    rows = [json.loads(line) for line in done.stdout.splitlines()]

    assert [(row["tier"], row["window"], row["rows"]) for row in rows] == [
        (tier, text, number)
        for tier in ("hot", "warm")
        for text, number in (("1m", 4), ("5m", 4), ("1h", 4), ("1d", 1), ("session 5m", 1))
    ]
    assert {row["expires_on"] for row in rows if row["window"] == "1m"} == {str(ago(2 - 8))}


def test_a_partition_without_windows_goes_with_its_day(own: Settings) -> None:
    """Without a lake, too."""
    with storing(own, WINDOWS), database(own) as connection:
        for age in (365, 366):
            make_day(connection, own.database_schema, WINDOWS, ago(age))
        planned = moved(own, dry_run=True)
        done = moved(own)

        assert told(done) == [("drop from hot", 366, None, 0)]
        assert planned == done
        assert ago(366) not in days_made(connection, own.database_schema, WINDOWS)
        assert ago(365) in days_made(connection, own.database_schema, WINDOWS)
    assert moved(own) == []


def test_a_day_that_somebody_reads_is_thinned_out_all_the_same(own: Settings) -> None:
    """Its rows go at once; the disk has its room back when nobody reads, or later."""
    write(own, a_day(ago(8), USUAL))
    with database(own) as reader, reader.transaction():
        reader.execute("SELECT count(*) FROM metrics_windows")
        steps = moved(own)

    assert told(steps) == [("drop from hot", 8, "1m", 4), ("delete from lake", 8, "1m", 4)]
    assert count_postgres(own, WINDOWS) == 9
