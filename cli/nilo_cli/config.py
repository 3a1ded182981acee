"""`nilo config show`: every setting, its value and where it came from."""

# ruff: noqa: PLC0415  settings bring pydantic; `nilo --help` needs none of it

from __future__ import annotations

import typer

from nilo_cli.context import settings_of
from nilo_cli.output import Json, show_rows

app = typer.Typer(help="The settings and where each came from.", no_args_is_help=True)


@app.command()
def show(ctx: typer.Context, as_json: Json = False) -> None:
    """Show every setting and where it came from.

    Secrets are masked.

    \b
    Example:
      nilo config show
      nilo --topic-prefix staging. config show --json
    """
    from nilo_schemas.settings import Settings

    settings = settings_of(ctx)
    rows = [
        {
            "name": name,
            "value": settings.shown(name),
            "source": settings.source(name),
            "description": field.description,
        }
        for name, field in Settings.model_fields.items()
    ]
    show_rows(rows, ["name", "value", "source"], as_json=as_json)
