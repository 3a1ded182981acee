"""docker-compose.yml and what it mounts: health, loopback ports, secrets, dashboards."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
ONE_SHOT = {"setup"}
DASHBOARDS = sorted((ROOT / "deploy" / "grafana" / "dashboards").glob("*.json"))
METRIC_IN_QUERY = re.compile(r"\b(?:nilo|kafka)_[a-z0-9_]+")
WINDOW_METRIC = re.compile(
    r"nilo_(?:llm_duration|llm_time_to_first_token|llm_cost|llm_input_tokens|llm_output_tokens)_"
    r"(?:(?:(?:sum|min|max|mean|p50|p90|p95|p99)_(?:seconds|dollars|tokens))"
    r"|window_events|window_errors|rate|error_ratio)"
)
PIPELINE_METRICS = {
    "nilo_consumed_events_total",
    "nilo_dead_letters_total",
    "nilo_late_events_total",
    "kafka_consumergroup_lag",
}


def has_compose() -> bool:
    if shutil.which("docker") is None:
        return False
    found = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False)
    return found.returncode == 0


@pytest.mark.skipif(not has_compose(), reason="the docker client with compose is not installed")
def test_compose_itself_accepts_the_file_with_the_example_environment() -> None:
    command = ["docker", "compose", "--env-file", ".env.example", "config", "--format", "json"]

    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert result.returncode == 0, result.stderr
    assert set(json.loads(result.stdout)["services"]) == set(SERVICES)


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_every_service_has_a_health_check_or_ends_by_itself(name: str) -> None:
    if name in ONE_SHOT:
        assert SERVICES[name]["restart"] == "no"
    else:
        assert SERVICES[name]["healthcheck"]["test"]


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_a_service_waits_until_what_it_needs_is_healthy(name: str) -> None:
    for needed, rule in SERVICES[name].get("depends_on", {}).items():
        done = "service_completed_successfully" if needed in ONE_SHOT else "service_healthy"
        assert rule == {"condition": done}


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_ports_are_published_on_loopback_only(name: str) -> None:
    for port in SERVICES[name].get("ports", []):
        assert str(port).startswith("127.0.0.1:")


def test_no_password_stands_in_the_file() -> None:
    for service in SERVICES.values():
        for key, value in service.get("environment", {}).items():
            if "PASSWORD" in key or ("://" in str(value) and "@" in str(value)):
                assert re.search(r"\$\{\w+_PASSWORD:\?", str(value)), key


def test_every_variable_is_documented_in_the_example_environment() -> None:
    used = set(re.findall(r"\$\{(\w+)", (ROOT / "docker-compose.yml").read_text()))
    documented = set(re.findall(r"^#?(\w+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))

    assert used == documented


def test_named_volumes_are_declared_and_mounted_files_exist() -> None:
    sources = [v.split(":")[0] for s in SERVICES.values() for v in s.get("volumes", [])]
    files = [source for source in sources if source.startswith(".")]

    assert set(sources) - set(files) == set(COMPOSE["volumes"])
    assert all((ROOT / file).exists() for file in files)


def test_dashboards_use_the_provisioned_data_source() -> None:
    sources = ROOT / "deploy" / "grafana" / "provisioning" / "datasources" / "prometheus.yml"
    uid = yaml.safe_load(sources.read_text())["datasources"][0]["uid"]

    assert DASHBOARDS
    for path in DASHBOARDS:
        used = {target["datasource"]["uid"] for target in targets(path)}
        assert used == {uid}


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_dashboards_ask_only_for_metrics_that_the_sink_exports(path: Path) -> None:
    for target in targets(path):
        names = METRIC_IN_QUERY.findall(target["expr"])
        assert names, target["expr"]
        for name in names:
            assert name in PIPELINE_METRICS or WINDOW_METRIC.fullmatch(name), name


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_panels_of_a_dashboard_do_not_overlap(path: Path) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in json.loads(path.read_text())["panels"]:
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells


def test_prometheus_scrapes_the_sink_by_its_service_name_and_port() -> None:
    config = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text())
    scraped = [
        target
        for job in config["scrape_configs"]
        for group in job["static_configs"]
        for target in group["targets"]
    ]
    command = SERVICES["sink-prometheus"]["command"]

    assert f"sink-prometheus:{command[command.index('--port') + 1]}" in scraped


def targets(path: Path) -> Iterator[dict[str, Any]]:
    """The queries of all panels of a dashboard."""
    for panel in json.loads(path.read_text())["panels"]:
        yield from panel.get("targets", [])
