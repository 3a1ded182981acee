"""`nilo replay backtest` without servers: rule files, incidents, sweeps, what counts and how."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from nilo_cli.backtest.asked import chosen
from nilo_cli.backtest.figures import Range, figures
from nilo_cli.backtest.incidents import Incident, read_incidents
from nilo_cli.backtest.page import show
from nilo_cli.backtest.report import Outcome
from nilo_cli.backtest.run import Backtest
from nilo_cli.backtest.score import scored
from nilo_cli.backtest.sweep import axis_of, points_of, unit_of, value_of
from nilo_cli.backtest.swept import Swept, chart_of
from nilo_cli.errors import UsageError
from nilo_cli.main import main
from nilo_schemas.catalogue import Catalogue
from nilo_schemas.catalogue_files import load_catalogue, load_rules
from nilo_schemas.errors import CatalogueError
from nilo_schemas.results import MetricWindow
from nilo_schemas.rules import Rule
from tests.window_tables import window_table
from tests.windows_of import MINUTE, START, catalogue, microseconds, window

BEGIN, A_MINUTE = microseconds(START), 60_000_000
HEAD = "alerts:\n  - {name: LlmSlow, metric: llm.duration, severity: info, "


def outcomes(
    known: Catalogue,
    windows: Sequence[MetricWindow],
    rules: Sequence[Rule],
    *,
    since: int = 0,
    incidents: Sequence[Incident] | None = None,
) -> dict[str, Outcome]:
    """Of each rule by its hash; the range begins `since` minutes after START."""
    test = Backtest(known, rules, BEGIN + since * A_MINUTE, 1000, 1)
    test.take(window_table(windows), BEGIN)
    test.finish()
    found = {}
    for name, version in test.versions.items():
        within = Range(BEGIN + since * A_MINUTE, version.seen.first, test.last)
        met = version.episodes.found
        score = None if incidents is None else scored(met, incidents, within)
        found[name] = Outcome(version, within, figures(met, within, version.hop), score)
    return found


def outcome(rule: Mapping[str, Any], windows: Sequence[MetricWindow], **more: Any) -> Outcome:
    known = catalogue(rule)
    (found,) = outcomes(known, windows, [known.rules["Rule"]], **more).values()
    return found


def means(*values: float | None, model: str = "atlas") -> list[MetricWindow]:
    labels = {"model": model}
    return [window(n, labels, mean=value) for n, value in enumerate(values) if value is not None]


SLOW = {"when": "mean > 2s"}


def test_only_what_fires_in_the_range_counts_and_what_lasts_into_it_is_told() -> None:
    windows = [*means(9, 0, *[0] * 8), *means(*[9] * 6, 0, 0, 0, 0, model="pico")]
    found = outcome(SLOW, [*windows, *means(*[0] * 7, 9, 9, 0, model="luna")], since=4)
    assert (found.figures.firings, found.figures.carried) == (1, 1)
    assert [json.loads(each.series) for each in found.figures.noisiest] == [{"model": "luna"}]
    # Luna for two minutes, and pico's last two or three from the beginning of the range.
    assert found.figures.time == (2 + 3) * A_MINUTE
    assert found.version.seen.windows == 3 * 6
    assert found.version.series == 3


def test_pages_a_day_are_by_the_days_of_which_there_are_windows() -> None:
    known = catalogue(SLOW, metrics={"calls": {"windows": ["10m"]}})
    windows = [window(n, window="10m", mean=9 if n % 48 == 0 else 1) for n in range(288, 432)]
    (found,) = outcomes(known, windows, [known.rules["Rule"]]).values()
    assert found.figures.days == 1.0
    assert found.figures.pages_per_day == 3.0


def test_an_alert_that_is_without_data_meanwhile_is_one_page() -> None:
    others = means(*[0] * 9, model="pico")
    found = outcome(SLOW, [*means(9, None, None, None, None, 9, 9, 0), *others])
    assert found.figures.firings == 1
    assert found.figures.longest == 7 * A_MINUTE


def test_what_fires_again_within_thirty_windows_flaps_and_the_third_time_is_held() -> None:
    values = [0.0] * 80
    for minute in (0, 30, 40, 50):
        values[minute] = 9
    found = outcome(SLOW, means(*values))
    # From 0 to 30 are thirty windows; 40 and 50 come within; 50 is the third in thirty.
    assert found.figures.firings == 4
    assert found.figures.flaps == 2
    assert found.figures.held == 1


def test_a_version_of_a_rule_does_the_same_beside_others_as_alone() -> None:
    known = catalogue(SLOW)
    rules = [catalogue({**SLOW, "for": f"{n} windows"}).rules["Rule"] for n in (1, 2, 3)]
    windows = [*means(9, 9, 0, 9, 9, 9, 0), *means(0, 9, None, 9, 9, model="pico")]
    together = outcomes(known, windows, rules)
    for rule in rules:
        alone = outcomes(known, windows, [rule])[rule.hash]
        assert alone.as_json() == together[rule.hash].as_json()
    assert [together[rule.hash].figures.firings for rule in rules] == [3, 3, 1]


def test_an_early_alert_detects_at_once_and_the_first_of_several_counts() -> None:
    windows = means(9, 9, 0, 0, 9, 0, 9, 0, 0)
    minutes = [(1, 2), (3, 6), (8, 8)]
    incidents = [
        Incident(line, BEGIN + start * A_MINUTE, BEGIN + end * A_MINUTE, {})
        for line, (start, end) in enumerate(minutes, 2)
    ]
    found = outcome(SLOW, windows, incidents=incidents).score
    assert found
    # It fires from 1 to 3, when the second incident begins; from 5 to 6; and from 7 on, held.
    assert found.delays == [0, 0, 2 * A_MINUTE]
    assert (found.precision, found.recall, found.f1) == (1.0, 1.0, 1.0)


def test_without_episodes_or_incidents_there_are_no_shares() -> None:
    found = outcome(SLOW, means(0, 0), incidents=[Incident(2, BEGIN - 9, BEGIN - 5, {})]).score
    assert found
    assert (found.precision, found.recall, found.f1, found.outside) == (None, None, None, 1)


def test_json_names_each_episode_as_the_alert_does() -> None:
    told = outcome({**SLOW, "for": "2 windows"}, means(0, 9, 9, 0)).as_json()
    (episode,) = told["episodes"]
    assert episode["labels"] == {"model": "atlas"}
    assert episode["starts_at"] == (START + MINUTE).isoformat()
    assert episode["fired_at"] == (START + 3 * MINUTE).isoformat()
    assert episode["ends_at"] == (START + 4 * MINUTE).isoformat()
    assert len(episode["fingerprint"]) == 16
    assert told["condition"] == "when: mean > 2s, for: 2 windows"


def test_the_page_shows_old_beside_new_and_says_what_is_wanting() -> None:
    known = catalogue({**SLOW, "min_count": 50})
    old, new = known.rules["Rule"], catalogue(SLOW).rules["Rule"]
    incidents = [Incident(7, BEGIN, BEGIN + A_MINUTE, {"model": "pico"})]
    found = outcomes(known, means(0, 9, 9, 0), [old, new], incidents=incidents)
    screen = Console(width=120, record=True, file=StringIO())
    show([("catalogue", found[old.hash]), ("new", found[new.hash])], 30, screen)
    show([("catalogue", found[old.hash])], 30, screen)
    told = screen.export_text()
    rows = [line.split() for line in told.splitlines()]
    assert ["firings", "0", "1"] in rows
    assert ["missed", "(lines)", "7", "7"] in rows
    assert "there are windows of 0.00278 of 30 days from 2026-11-02 00:00" in told
    assert "it could judge none of them" in told


# Rule files


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_rules_of_a_file_are_read_though_switched_off_and_without_their_runbook(
    tmp_path: Path,
) -> None:
    rules = "when: p95 > 3s, enabled: false, runbook: runbooks/none.md}\n"
    known, found = load_rules(write(tmp_path / "rule.yaml", HEAD + rules))
    assert [rule.name for rule in found] == ["LlmSlow"]
    assert known == load_catalogue()


def test_a_metric_in_the_file_must_be_that_of_the_catalogue(tmp_path: Path) -> None:
    shipped = load_catalogue().metrics["llm.duration"].model_dump(exclude={"alerts"}, mode="json")
    own = {name: value for name, value in shipped.items() if value not in (None, [], "")}
    own["where"] = {"type": "llm.call"}
    own["error_when"] = {"status": "ERROR"}
    rule = {"name": "Mine", "when": "p95 > 3s", "severity": "info"}

    def file(**more: Any) -> Path:
        values = {"metrics": {"llm.duration": {**own, **more, "alerts": [rule]}}}
        return write(tmp_path / "rule.yaml", json.dumps(values, indent=1))

    assert [each.name for each in load_rules(file())[1]] == ["Mine"]
    with pytest.raises(CatalogueError, match=r"rule.yaml:3: llm.duration: the catalogue has no"):
        load_rules(file(dimensions=["model"]))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (HEAD + "when: p95 > 3q}\n", r"rule.yaml:2: alerts.0.when: p95 has no unit 'q'"),
        ("alerts: []\n", "there is no rule in it"),
        (
            HEAD + "when: p95 > 3s}\n" + HEAD.split("\n")[1] + "no_data: 5m}\n",
            ":3: .*another alert",
        ),
    ],
)
def test_a_wrong_rule_file_is_refused_with_its_line(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(CatalogueError, match=told):
        load_rules(write(tmp_path / "rule.yaml", text))


def test_a_rule_that_the_file_has_not_is_wrong_usage() -> None:
    rule = catalogue(SLOW).rules["Rule"]
    assert chosen([rule], "Rule") == chosen([rule], None) == [rule]
    with pytest.raises(UsageError, match="--rule Rul: the file has Rule"):
        chosen([rule], "Rul")


# Incidents


def test_incidents_have_times_and_labels_and_other_columns_are_told(tmp_path: Path) -> None:
    text = (
        "\ufeffmodel,start,end,title\n"
        'atlas,2026-11-02T00:10:00Z,2026-11-02 00:20:00,"a, b"\n\n'
        ",2026-11-02T01:00:00+01:00,2026-11-02T00:00Z,\n"
    )
    found = read_incidents(write(tmp_path / "i.csv", text), ["model", "provider"])
    assert found.ignored == ["title"]
    assert found.found == [
        Incident(2, BEGIN + 10 * A_MINUTE, BEGIN + 20 * A_MINUTE, {"model": "atlas"}),
        Incident(4, BEGIN, BEGIN, {}),
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("begin,end\n", "line 1: no column start"),
        ("", "line 1: no column start and no column end"),
        ("start,end\n", "there is no incident"),
        ("start,end\n2026-01-01,2026-01-02\nyesterday,2026-01-02\n", "line 3: start 'yesterday'"),
        ("start,end\n2026-01-01,\n", "line 2: end '' is no time"),
        ("start,end\n2026-01-02,2026-01-01\n", "line 2: it ends at 2026-01-01, before it starts"),
        ("start,end\n2026-01-02\n", "line 2: 1 cells, and the header has 2"),
    ],
)
def test_a_wrong_row_of_incidents_is_refused_with_its_line(
    tmp_path: Path, text: str, told: str
) -> None:
    with pytest.raises(UsageError, match=told):
        read_incidents(write(tmp_path / "i.csv", text), [])


# Sweeps


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("threshold=1..5", "1 2 3 4 5"),
        ("threshold=1..2/0.5", "1 1.5 2.0"),
        ("threshold=0.1..0.35/0.1", "0.1 0.2 0.3"),
        ("threshold=-3..-1", "-3 -2 -1"),
        ("for = 5,1, 2,5", "5 1 2"),
    ],
)
def test_a_sweep_is_a_range_with_a_step_or_a_list(text: str, values: str) -> None:
    axis = axis_of(text)
    assert axis.values == [Decimal(value) for value in values.split()]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("threshold", "write FIELD=VALUES"),
        ("summary=1..2", "fields: threshold, clear"),
        ("threshold=1..x", "'1..x' is no number"),
        ("threshold=5..1", "from the smaller to the larger"),
        ("threshold=1..5/0", "a step above 0"),
        ("threshold=1..9999", "more than 1,000 values"),
    ],
)
def test_a_wrong_sweep_is_refused(text: str, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        axis_of(text)


@pytest.mark.parametrize(
    ("rule", "sweep", "made", "unit"),
    [
        ({"when": "p95 >= 2.5s"}, "threshold=3", {"when": "p95 >= 3s"}, "s"),
        ({"when": "mean > 2s", "clear": "mean < 1500ms"}, "threshold=4",
         {"when": "mean > 4s", "clear": "mean < 3000ms"}, "s"),
        ({"when": "mean > 2s", "clear": "mean < 1s"}, "clear=0.5", {"clear": "mean < 0.5s"}, "s"),
        ({"change": "mean < -30%", "over": "5m"}, "threshold=-40", {"change": "mean < -40%"}, "%"),
        ({"change": "mean < -30%", "over": "5m"}, "over=9", {"over": "9m"}, "m"),
        ({"ratio": "errors / calls.count > 10%"}, "threshold=5",
         {"ratio": "errors / calls.count > 5%"}, "%"),
        ({"budget": "sum > 50 per day"}, "threshold=60", {"budget": "sum > 60 per day"}, "per day"),
        ({"burn_rate": "14.4 over 1h", "objective": "99%"}, "threshold=6",
         {"burn_rate": "6 over 1h"}, "over 1h"),
        ({"burn_rate": "14.4 over 1h", "objective": "99%"}, "objective=99.9",
         {"objective": "99.9%"}, "%"),
        ({"no_data": "5m"}, "threshold=9", {"no_data": "9m"}, "m"),
        (SLOW, "for=3", {"for": "3 windows"}, "windows"),
        ({**SLOW, "for": "5m"}, "for=3", {"for": "3m"}, "m"),
        ({"anomaly": "mean"}, "keep_firing_for=2", {"keep_firing_for": "2 windows"}, "windows"),
        (SLOW, "min_count=20", {"min_count": 20}, "events"),
    ],
)  # fmt: skip
def test_each_number_of_a_rule_can_be_swept(
    rule: dict[str, Any], sweep: str, made: dict[str, Any], unit: str
) -> None:
    known, axis = catalogue(rule), axis_of(sweep)
    own = known.rules["Rule"]
    (point,) = points_of(own, [axis], known.metrics)
    given = own.model_dump(by_alias=True, exclude_unset=True)
    assert point.rule == Rule.model_validate({**given, **made})
    assert value_of(point.rule, axis.field) == axis.values[0]
    assert unit_of(own, axis.field) == unit


@pytest.mark.parametrize(
    ("rule", "sweep", "told"),
    [
        ({"anomaly": "mean"}, "threshold=1", "anomaly has no threshold of its own"),
        (SLOW, "clear=1", "has no `clear` to sweep"),
        (SLOW, "for=1.5", "with for=1.5: '1.5 windows'"),
        (SLOW, "min_count=1.5", "with min_count=1.5: Input should be a valid integer"),
        ({**SLOW, "clear": "mean < 1s"}, "clear=3", "with clear=3: .*other side of the condition"),
        ({"when": "count > 0", "clear": "count < 0"}, "threshold=3", "sweep `clear` as well"),
    ],
)
def test_what_cannot_be_swept_says_why(rule: dict[str, Any], sweep: str, told: str) -> None:
    known = catalogue(rule)
    with pytest.raises(UsageError, match=told):
        points_of(known.rules["Rule"], [axis_of(sweep)], known.metrics)


def swept(*sweeps: str) -> Swept:
    known = catalogue({**SLOW, "for": "2 windows"})
    rule, axes = known.rules["Rule"], [axis_of(text) for text in sweeps]
    points = points_of(rule, axes, known.metrics)
    incidents = [Incident(2, BEGIN + 6 * A_MINUTE, BEGIN + 9 * A_MINUTE, {})]
    windows = means(0, 3, 3, 0, 0, 0, 9, 9, 9, 0)
    found = outcomes(known, windows, [point.rule for point in points], incidents=incidents)
    return Swept(rule, axes, points, found)


def test_a_sweep_tells_of_each_value_what_it_would_have_done() -> None:
    found = swept("threshold=2,5,9")
    rows = [found.row(point) for point in found.points]
    assert [row["threshold"] for row in rows] == [2.0, 5.0, 9.0]
    assert [row["as_written"] for row in rows] == [True, False, False]
    assert [row["firings"] for row in rows] == [2, 1, 0]
    assert [row["precision"] for row in rows] == [0.5, 1.0, None]
    assert [row["recall"] for row in rows] == [1.0, 1.0, 0.0]
    assert [row["median_seconds_to_detect"] for row in rows] == [120.0, 120.0, None]
    assert found.as_json()["units"] == {"threshold": "s"}


def test_the_chart_has_a_panel_for_pages_shares_and_time_with_the_value_of_now() -> None:
    pages, shares, delay = chart_of(swept("threshold=2,9,5")).panels
    assert [each.name for each in pages.series] == ["pages", "flaps"]
    assert pages.x_label == "threshold (s)"
    assert [list(each.x) for each in shares.series] == [[2, 5, 9]] * 3
    assert list(shares.series[0].y) == [0.5, 1.0, None]
    assert list(shares.marks) == [(2.0, "as written")]
    assert (delay.y_label, list(delay.series[0].y)) == ("time to detect (min)", [2, 2, None])


def test_a_second_number_makes_a_line_of_each_of_its_values() -> None:
    found = swept("threshold=2,5", "for=1,3")
    assert len(found.points) == 4
    panels = chart_of(found).panels
    assert [panel.y_label for panel in panels] == [
        "pages per day", "precision", "recall", "F1", "time to detect (min)"
    ]  # fmt: skip
    assert [each.name for each in panels[3].series] == ["for 1", "for 3"]


# The command


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--days", "3", "--from", "1h"], "--days and --from"),
        (["--from", "1h", "--to", "2h"], "is not before --to"),
        (["--warm-up", "week"], "'week' is no length of time"),
        (["--plot", "x.png"], "--sweep is given once or twice"),
        (["--sweep", "threshold=1..5", "--plot", "x.pdf"], "written as .png or .svg"),
        (["--sweep", "threshold=1..5", "--plot", "/no/x.png"], "there is no folder /no"),
    ],
)
def test_wrong_usage_is_told_before_windows_are_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], told: str
) -> None:
    file = write(tmp_path / "rule.yaml", HEAD + "when: p95 > 3s}\n")
    assert main(["replay", "backtest", str(file), *words]) == 2
    assert told in capsys.readouterr().err
