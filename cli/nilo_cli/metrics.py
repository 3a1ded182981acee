"""`nilo metrics list`, and finding a metric by its name."""

# ruff: noqa: PLC0415  the catalogue needs YAML and all models

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from nilo_cli.context import settings_of
from nilo_cli.errors import UsageError
from nilo_cli.output import Json, show_rows

if TYPE_CHECKING:
    from nilo_schemas.catalogue import Metric
    from nilo_schemas.settings import Settings

app = typer.Typer(help="The metrics catalogue.", no_args_is_help=True)


@app.command(name="list")
def list_(ctx: typer.Context, as_json: Json = False) -> None:
    """List the metrics of the catalogue.

    The shipped ones, and your own where NILO_CATALOGUE names a folder.

    \b
    Example:
      nilo metrics list
      NILO_CATALOGUE=./metrics nilo metrics list --json
    """
    from nilo_schemas.catalogue_files import load_catalogue

    rows = [
        {
            "name": name,
            "event": metric.event,
            "unit": metric.unit,
            "windows": " ".join(metric.windows),
            "dimensions": " ".join(metric.dimensions),
            "description": metric.description,
        }
        for name, metric in load_catalogue(settings_of(ctx).catalogue).metrics.items()
    ]
    show_rows(rows, ["name", "event", "unit", "windows", "description"], as_json=as_json)


def metric_of(settings: Settings, name: str) -> Metric:
    """The metric of this name; raises UsageError when the catalogue has none."""
    from nilo_schemas.catalogue_files import load_catalogue

    metrics = load_catalogue(settings.catalogue).metrics
    if name not in metrics:
        raise UsageError(f"no metric is called {name!r}; known: {', '.join(metrics)}")
    return metrics[name]
