"""Events of a subject among others in the stores, and where its name is found. No servers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from uuid import UUID

import pyarrow as pa
import pyarrow.parquet as pq

from nilo_consumers.audit.in_lake import InLake
from nilo_consumers.audit.spans import minus, union
from nilo_consumers.batch import ORIGIN, Batch, Span
from nilo_consumers.erase import run
from nilo_consumers.erase.receipt import KAFKA, Receipt
from nilo_consumers.lake import existing_table
from nilo_consumers.sqlite import SqliteSink
from nilo_schemas.arrow import arrow_schema
from nilo_schemas.families import LlmEvent
from nilo_schemas.settings import Settings
from tests.tiering import LLM, NEW, OLD, PARTITIONS
from tests.tiering import rows_of as rows_of_nobody
from tests.tiering import write as write_lake

RUN_ID = UUID(int=7)
THEIRS = 'Zoë O\'Brien; -- 100% "_" \\ 🦉'
ALIKE = (THEIRS.lower(), THEIRS[:-1], THEIRS.replace("O'", "O''"), "%", "_", "", "' OR ''='")
ALL = [(partition, offset) for partition in range(PARTITIONS) for offset in range(100)]
"""The places of what `filled` writes."""
OTHERS = [(partition, offset) for partition, offset in ALL if offset >= 80 or offset % 5]


def rows_of(number: int, day: Any, partition: int, start: int) -> list[dict[str, Any]]:
    """Events of a day, each fifth of them the subject's, the others of such as look like it."""
    rows = rows_of_nobody(number, day, partition, start)
    for row in rows:
        at = row["kafka_offset"]
        row["subject"] = THEIRS if at % 5 == 0 else (*ALIKE, None, f"agent-{at}")[at % 9]
    return rows


def filled(settings: Settings) -> None:
    """Rows of two days in files of their own; those of NEW from offset 100 on are of others."""
    for partition in range(PARTITIONS):
        write_lake(settings, rows_of(40, OLD, partition, 0))
        write_lake(settings, rows_of(40, NEW, partition, 40))
        others = rows_of(20, NEW, partition, 80)
        write_lake(settings, [row | {"subject": "agent-7"} for row in others])


def erased(settings: Settings, subject: str = THEIRS) -> Receipt:
    """One run over the stores; there is no Kafka, which is told."""
    receipt = run.erase(settings, subject)
    assert [line.place for line in receipt.left] == [KAFKA], [line.left for line in receipt.left]
    return receipt


def counted(settings: Settings, subject: str = THEIRS) -> int:
    """How many rows of the subject the stores hold."""
    return sum(line.rows or 0 for line in run.count(settings, subject).stored)


def values(settings: Settings) -> list[dict[str, Any]]:
    """All rows of the lake by partition and offset."""
    table = existing_table(settings, LLM)
    assert table is not None
    rows = table.to_pyarrow_dataset().to_table()
    places = [("kafka_partition", "ascending"), ("kafka_offset", "ascending")]
    found: list[dict[str, Any]] = rows.sort_by(places).to_pylist()
    return found


def named_in(folder: Path) -> list[str]:
    """The files that have the subject's name in their bytes, or, of packed ones, in a value."""
    in_json = json.dumps(THEIRS, ensure_ascii=False)[1:-1]
    forms = [THEIRS, in_json, json.dumps(in_json, ensure_ascii=False)[1:-1]]
    found = []
    for path in sorted(each for each in folder.rglob("*") if each.is_file()):
        content = path.read_bytes()
        if path.suffix == ".parquet":
            content += repr(pq.read_table(path).to_pylist()).encode()
        if any(text.encode() in content for form in forms for text in (form, repr(form)[1:-1])):
            found.append(str(path.relative_to(folder)))
    return found


def holds(path: Path) -> bool:
    """Whether a Parquet file has a row of the subject."""
    table = pq.ParquetFile(path)
    return "subject" in table.schema_arrow.names and THEIRS in table.read()["subject"].to_pylist()


def without_gaps(settings: Settings) -> bool:
    """Whether rows and erased offsets of the lake together are all, none twice."""
    store = InLake(settings)
    held, gone = store.held(LLM, range(PARTITIONS)), store.erased(LLM)
    rows = {number: union(each.rows) for number, each in held.items()}
    return all(
        union([*rows[number], *minus(gone.get(number, []), rows[number])]) == [Span(0, 100)]
        for number in range(PARTITIONS)
    )


def write_sqlite(settings: Settings, rows: list[dict[str, Any]]) -> None:
    """As the sink of the SQLite file writes a batch of one partition."""
    sink, topic = SqliteSink(settings), settings.topic_prefix + LLM
    sink.connect([(topic, 0)])
    table = pa.Table.from_pylist(rows, pa.schema([*arrow_schema(LlmEvent), *ORIGIN]))
    ends = rows[0]["kafka_offset"], rows[-1]["kafka_offset"] + 1
    sink.write(Batch(topic, table, {0: Span(*ends)}))
    sink.close()
