"""The jobs of the benchmark as catalogues: these metrics of `events.llm` and no others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from nilo_schemas.catalogue import Catalogue, Metric
from nilo_schemas.catalogue_files import load_catalogue
from nilo_schemas.families import LlmEvent, SystemEvent

FOLDER = Path(__file__).with_name("catalogues")
# A folder is laid over the shipped catalogue and cannot take a metric out of it. On a family of
# which there are no events, a metric costs nothing.
_AWAY = {
    "description": "Not measured here",
    "owner": "bench",
    "event": SystemEvent.kafka_topic,
    "windows": ["1m"],
    "aggregates": ["count"],
}


def write_job(name: str, folder: Path) -> Path:
    """A catalogue folder with the metrics of `catalogues/NAME.yaml` alone on `events.llm`."""
    metrics = yaml.safe_load((FOLDER / f"{name}.yaml").read_text())["metrics"]
    shipped = load_catalogue().of_event(LlmEvent.kafka_topic)
    whole = dict.fromkeys(shipped, _AWAY) | metrics
    target = folder / name
    target.mkdir(parents=True, exist_ok=True)
    text = yaml.safe_dump({"metrics": {key: _plain(value) for key, value in whole.items()}})
    (target / "job.yaml").write_text(text)
    return target


def metrics_of(folder: Path) -> dict[str, Metric]:
    """The metrics of a job by name."""
    catalogue: Catalogue = load_catalogue(folder)
    return catalogue.of_event(LlmEvent.kafka_topic)


def _plain(metric: dict[str, Any]) -> dict[str, Any]:
    """The metric without rollups: they are no part of the job that is compared."""
    return metric | ({"rollups": []} if "rollups" in Metric.model_fields else {})
