"""`nilo schemas rehearse` on real servers: what of a topic, its table and its letters breaks."""

from __future__ import annotations

import copy
import io
import json
import os
import re
import subprocess
import sys
from itertools import permutations
from pathlib import Path
from typing import Any

import fastavro
import psycopg
import pytest
from confluent_kafka.schema_registry import Schema

from nilo_consumers.rehearse.in_postgres import casts, plan
from nilo_schemas.clients import registry_client
from nilo_schemas.contracts import contract
from nilo_schemas.families import LlmEvent
from nilo_schemas.framing import frame
from nilo_schemas.registry import Registry
from nilo_schemas.settings import Settings
from tests.integration.programs import nilo
from tests.integration.sinking import LLM, produce, query, sinking, wait_count
from tests.integration.storing import database, storing

pytestmark = pytest.mark.integration
PAGE = (Path(__file__).parents[2] / "docs" / "schemas.md").read_text()
COMMANDS = "".join(re.findall(r"^```sh\n(.*?)^```$", PAGE, re.M | re.S))
OURS = contract(LlmEvent)
TYPES = "text", "boolean", "integer", "bigint", "double precision", "timestamptz", "jsonb"


def changed(**fields: Any) -> dict[str, Any]:
    """Our contract with these members of fields changed; None: the field goes."""
    schema = copy.deepcopy(OURS)
    schema["fields"] = [
        field | fields.get(field["name"], {})
        for field in schema["fields"]
        if fields.get(field["name"], {}) is not None
    ]
    return schema


def severity(*symbols: str) -> dict[str, Any]:
    """A severity with other symbols."""
    enum = {"type": "enum", "name": "Severity", "symbols": symbols, "default": "INFO"}
    return {"type": enum}


WITHOUT_SOURCE = changed(source=None)
LOUDER = changed(severity=severity("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL", "FATAL"))
NEW = changed(
    source={"default": "unknown"},
    subject={"type": "string"},
    severity=severity("DEBUG", "INFO", "WARNING", "ERROR"),
    input_tokens={"type": ["null", "double"]},
    fallback_from=None,
)
NEW["fields"] = [
    {
        name: value
        for name, value in field.items()
        if (field["name"], name) != ("subject", "default")
    }
    for field in NEW["fields"]
] + [{"name": "region", "type": ["null", "string"], "doc": "where it ran", "default": None}]


class Writers:
    """Registers schemas as foreign producers do, and writes their messages."""

    def __init__(self, settings: Settings) -> None:
        self._settings, self._client = settings, registry_client(settings)

    def register(self, name: str, schema: dict[str, Any]) -> int:
        subject = f"{self._settings.topic_prefix}{name}"
        return int(self._client.register_schema(subject, Schema(json.dumps(schema), "AVRO")))

    def send(self, partition: int, schema_id: int, schema: Any, *rows: dict[str, Any]) -> None:
        values = []
        for row in rows:
            body = io.BytesIO()
            event = LlmEvent(type="llm.call", source="test").to_avro()
            fastavro.schemaless_writer(body, fastavro.parse_schema(schema), event | row)
            values.append(frame(schema_id, body.getvalue()))
        produce(self._settings, LLM, values, partition=partition)


@pytest.fixture(scope="module")
def landed(module_settings: Settings) -> tuple[Settings, dict[str, int]]:
    """Records of three writers and one of nobody; the lake and the letters that came of them."""
    settings, writers = module_settings, Writers(module_settings)
    ids = {
        "ours": Registry(settings).schema_id(LlmEvent),
        "sourceless": writers.register("sourceless", WITHOUT_SOURCE),
        "louder": writers.register("louder", LOUDER),
    }
    known = {"subject": "a"}
    writers.send(
        0, ids["ours"], OURS, known, known, known, known, {}, {},
        known | {"severity": "CRITICAL"}, known | {"input_tokens": 2**53 + 1},
    )  # fmt: skip
    writers.send(1, ids["sourceless"], WITHOUT_SOURCE, known, known)
    writers.send(1, ids["louder"], LOUDER, known | {"severity": "FATAL"})
    produce(settings, LLM, [b"\x05oops"], partition=1)
    writers.send(1, ids["ours"], OURS, known | {"fallback_from": "stop"})
    with sinking("parquet", settings, topics=[LLM]):
        wait_count("parquet", settings, 10)
    with storing(settings):
        query(settings, "CREATE VIEW tokens AS SELECT input_tokens FROM events_llm")
    return settings, ids


def rehearsed(
    settings: Settings, folder: Path, schema: dict[str, Any], *words: str
) -> tuple[int, dict[str, Any]]:
    file = folder / "new.avsc"
    file.write_text(json.dumps(schema))
    done = nilo(settings, "schemas", "rehearse", str(file), *words)
    assert done.stderr == ""
    return done.returncode, json.loads(done.stdout)


def counts(place: dict[str, Any]) -> list[int]:
    return [place[name] for name in ("records", "looked", "decode", "break", "already")]


def broken(place: dict[str, Any]) -> list[tuple[str, str, int, list[str]]]:
    kinds = [
        (each["reason"], each["field"], each["records"], each["examples"])
        for each in place["breaks"]
    ]
    return sorted(kinds)


def test_what_breaks_is_counted_and_named_in_every_place(
    landed: tuple[Settings, dict[str, int]], tmp_path: Path
) -> None:
    settings, ids = landed
    code, found = rehearsed(settings, tmp_path, NEW)
    assert (code, found["topic"], found["breaks"]) == (1, LLM, True)

    kafka = {(each["partition"], each["schema_id"]): each for each in found["kafka"]}
    assert {key: counts(each) for key, each in kafka.items()} == {
        (0, ids["ours"]): [8, 8, 4, 4, 0],
        (1, None): [1, 1, 0, 0, 1],
        (1, ids["ours"]): [1, 1, 1, 0, 0],
        (1, ids["sourceless"]): [2, 2, 2, 0, 0],
        (1, ids["louder"]): [1, 1, 0, 0, 1],
    }
    in_both = [
        ("incompatible", "subject", 2, ["events.llm/0/4", "events.llm/0/5"]),
        ("lost", "input_tokens", 1, ["events.llm/0/7"]),
        ("lost", "severity", 1, ["events.llm/0/6"]),
    ]
    assert broken(kafka[0, ids["ours"]]) == in_both
    assert counts(found["lake"]) == [10, 10, 5, 5, 0]
    gone = ("lost", "fallback_from", 1, ["events.llm/1/4"])
    assert broken(found["lake"]) == sorted([*in_both, gone])

    kept = {"column": "input_tokens", "table": "int64", "contract": "double"}
    assert found["lake"]["kept"] == [kept]

    letters = {each["reason"]: each for each in found["dlq"]}
    assert {name: (each["succeed"], each["fail"]) for name, each in letters.items()} == {
        "incompatible": (2, 0),
        "framing": (0, 1),
    }
    assert letters["incompatible"]["examples"] == ["events.llm/1/0", "events.llm/1/1"]
    assert any("field subject" in line for line in found["compatibility"]["problems"])


def test_a_sample_has_every_writer(landed: tuple[Settings, dict[str, int]], tmp_path: Path) -> None:
    _, found = rehearsed(landed[0], tmp_path, NEW, "--sample", "1")
    assert [each["looked"] for each in found["kafka"]] == [1] * 5


def test_the_commands_of_the_page_say_that_the_contract_in_force_breaks_nothing(
    landed: tuple[Settings, dict[str, int]], tmp_path: Path
) -> None:
    nilo = f'nilo() {{ "{sys.executable}" -m nilo_cli "$@"; }}\nset -e\n'
    done = subprocess.run(
        ["bash", "-c", nilo + COMMANDS],
        cwd=tmp_path,
        env=os.environ | landed[0].environment(),
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    whole, sampled = map(json.loads, done.stdout.splitlines())
    for found in (whole, sampled):
        assert (found["breaks"], found["compatibility"]["problems"]) == (False, [])
        assert found["postgres"]["statements"] == found["postgres"]["impossible"] == []


def test_the_sql_makes_of_the_table_what_the_new_contract_wants(
    landed: tuple[Settings, dict[str, int]],
) -> None:
    settings, _ = landed
    wanted = changed(
        source={"type": ["null", "string"], "default": None},
        input_tokens={"type": ["null", "double"]},
    )
    wanted["fields"].append({"name": "region", "type": "string", "doc": "it's here", "default": ""})
    before = plan(settings, LlmEvent, wanted, "")
    table = f'"{settings.database_schema}"."events_llm"'
    assert [(each.sql, each.by, each.rewrites) for each in before.statements] == [
        (f'DROP VIEW "{settings.database_schema}"."tokens"', "you", False),
        (f'ALTER TABLE {table} ALTER COLUMN "source" DROP NOT NULL', "you", False),
        (
            f'ALTER TABLE {table} ALTER COLUMN "input_tokens" TYPE double precision '
            'USING "input_tokens"::double precision',
            "you",
            True,
        ),
        (f'ALTER TABLE {table} ADD COLUMN IF NOT EXISTS "region" text', "sink", False),
        (f"COMMENT ON COLUMN {table}.\"region\" IS 'it''s here'", "sink", False),
    ]
    with database(settings) as connection:
        for each in before.statements:
            connection.execute(each.sql.encode())
    after = plan(settings, LlmEvent, wanted, "")
    assert (after.statements, after.impossible) == ([], [])
    keyed = plan(settings, LlmEvent, changed(time={"type": "long"}, id={"type": "long"}), "")
    assert [line.split(":")[0] for line in keyed.impossible] == ["column id", "column time"]


def test_postgres_casts_what_we_say_and_nothing_else(
    landed: tuple[Settings, dict[str, int]],
) -> None:
    refused = (psycopg.errors.CannotCoerce, psycopg.errors.InvalidColumnDefinition)
    with database(landed[0]) as connection:
        for kind, other in permutations(TYPES, 2):
            connection.execute(f"CREATE TEMP TABLE one (a {kind})".encode())
            try:
                connection.execute(
                    f"ALTER TABLE one ALTER a TYPE {other} USING a::{other}".encode()
                )
                done = True
            except refused:
                done = False
            assert casts(kind, other) == done, (kind, other)
            connection.execute("DROP TABLE one")
