"""What README and docs name is there: files, make targets, commands."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import typer

from nilo_cli.main import app

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
IDS = [page.name for page in PAGES]


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_every_link_leads_to_a_file(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)", page.read_text())

    assert [
        link
        for link in links
        if not link.startswith("https://") and not (page.parent / link).exists()
    ] == []


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_every_make_target_exists(page: Path) -> None:
    made = re.findall(r"(?:`|^ {4})make ([a-z]+)", page.read_text(), re.M)
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M)

    assert set(made) - set(targets) == set()


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_every_nilo_command_exists(page: Path) -> None:
    named = re.findall(r"(?:`|^ {4}|bin/)nilo ([a-z]+)", page.read_text(), re.M)
    known: Any = typer.main.get_command(app)

    assert set(named) - set(known.commands) == set()


def test_the_readme_opens_with_three_sentences_and_the_two_commands() -> None:
    text = (ROOT / "README.md").read_text()
    commands = re.findall(r"^ {4}(make .*)$", text, re.M)

    assert commands == ["make demo", "make test"]
    assert (
        text.index("make test") < text.index("## Three uses") < text.index("## How it scales out")
    )
