"""What the options in front of a command say, for all commands."""

# ruff: noqa: PLC0415  settings bring pydantic; `nilo --help` needs none of it

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from nilo_schemas.settings import Settings


def flags_of(ctx: typer.Context) -> dict[str, Any]:
    """The settings given as options in front of the command; None where not given."""
    flags: dict[str, Any] = ctx.find_root().obj or {}
    return flags


def settings_of(ctx: typer.Context) -> Settings:
    """The settings of this call; raises SettingsError."""
    from nilo_schemas.settings import load_settings

    return load_settings(flags_of(ctx))
