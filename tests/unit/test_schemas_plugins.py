"""A user's own family by the entry point `nilo.events`, and what the base install may import."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from nilo_schemas import families as families_module
from nilo_schemas.batch import BatchDecoder
from nilo_schemas.catalogue_files import load_catalogue
from nilo_schemas.codec import decode, encode
from nilo_schemas.contracts import contract, problems, records, write_changed
from nilo_schemas.errors import ContractError
from nilo_schemas.families import families, family_of_type
from nilo_schemas.settings import Settings
from nilo_schemas.topics import topic_specs

OVEN = """
from typing import ClassVar, Literal
from nilo_schemas.envelope import Event
from nilo_schemas.fields import Duration

class OvenEvent(Event):
    "An oven heated or cooled."
    kafka_topic: ClassVar[str] = "events.oven"
    type: Literal["oven.heated", "oven.cooled"]
    duration: Duration | None = None

class Taken(OvenEvent):
    kafka_topic: ClassVar[str] = "events.llm"

class Bare(Event):
    "no topic, no types"

class NotOne: ...
"""
HEAVY = ("faust", "pyarrow", "numpy", "psycopg", "yaml", "avro", "rich", "typer", "pyruhvro")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on sys.path with the module `my_ovens`, to which a test adds the entry point."""
    (tmp_path / "my_ovens.py").write_text(OVEN)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    families_module.families.cache_clear()
    sys.modules.pop("my_ovens", None)


def install(site: Path, target: str) -> None:
    """What pip would leave behind for a package with this entry point."""
    info = site / "ovens-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: ovens\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[nilo.events]\noven = {target}\n")
    families_module.families.cache_clear()


def test_contract_topic_and_decoders_follow_from_the_class(site: Path, tmp_path: Path) -> None:
    install(site, "my_ovens:OvenEvent")
    oven = families()["events.oven"]
    assert family_of_type("oven.cooled") is oven
    names = [spec.name for spec in topic_specs(Settings())]
    assert {"events.oven", "dlq.events.oven"} <= set(names)
    assert records()["events.oven"] is oven

    folder = tmp_path / "avro"
    assert folder / "events.oven" / "1.avsc" in list(write_changed(folder))
    assert list(problems(folder)) == []

    event = oven.model_validate({"type": "oven.heated", "source": "kitchen"})
    value = encode(event, 5)
    assert decode(value, oven, lambda _: contract(oven)) == event
    rows = BatchDecoder(oven, lambda _: contract(oven)).decode([value]).rows
    assert rows.column("source").to_pylist() == ["kitchen"]


def test_metrics_follow_from_the_class(site: Path, tmp_path: Path) -> None:
    install(site, "my_ovens:OvenEvent")
    own = tmp_path / "catalogue"
    own.mkdir()
    (own / "oven.yaml").write_text(
        textwrap.dedent("""\
            metrics:
              oven.duration:
                description: Time that an oven takes
                owner: kitchen
                event: events.oven
                where: {type: oven.heated}
                value: duration
                unit: seconds
                dimensions: [source]
                windows: [10s]
                aggregates: [count, sum]
            """)
    )
    assert "oven.duration" in load_catalogue(own).metrics


@pytest.mark.parametrize(
    ("target", "word"),
    [
        ("my_ovens:Taken", "events.llm is taken"),
        ("my_ovens:Bare", "kafka_topic"),
        ("my_ovens:NotOne", "not an Event class"),
        ("my_ovens:Nowhere", "does not load"),
        ("no_such_module:X", "does not load"),
    ],
)
def test_an_entry_point_that_will_not_do_is_named(site: Path, target: str, word: str) -> None:
    install(site, target)
    with pytest.raises(ContractError, match=word) as caught:
        families()
    assert "'oven'" in str(caught.value)


def test_an_emitting_program_needs_only_the_base_install() -> None:
    program = f"""
        import sys
        for name in {HEAVY!r}:
            sys.modules[name] = None  # importing it raises ImportError
        import nilo_producers
        from nilo_schemas.codec import encode
        from nilo_schemas.families import LlmEvent
        from nilo_schemas import clients, dead_letters, registry, settings, topics
        print(len(encode(LlmEvent(type="llm.call", source="s"), 1)) > 5, nilo_producers.__name__)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("True nilo_producers\n", "")
