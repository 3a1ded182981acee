"""The job as Faust's documentation has it: an Avro codec, a Record, a windowed table.

    BENCH_BROKER=kafka://… BENCH_TOPIC=… BENCH_APP=… \
        python -m tests.bench.stock_faust worker --without-web

One-minute tumbling windows by model, in event time: count, errors, sum, least and largest latency,
tokens, cost. The table is in memory (`memory://`, the fastest store that Faust has) and logs every
change to its changelog topic, as tables do. Nothing is tuned, and nothing of ours is used.
"""

from __future__ import annotations

import io
import json
import os
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, cast

import fastavro
import faust
from faust.serializers import codecs

CONTRACT = Path(__file__).parents[2] / "schemas/nilo_schemas/avro/events.llm/1.avsc"
SCHEMA = fastavro.parse_schema(json.loads(CONTRACT.read_text()))
PREFIX = 5  # Confluent's: a zero byte and the schema id


class AvroCodec(codecs.Codec):
    """Messages in Confluent's framing."""

    def _loads(self, s: bytes) -> Any:
        return fastavro.schemaless_reader(io.BytesIO(s[PREFIX:]), SCHEMA, None)

    def _dumps(self, s: Any) -> bytes:
        body = io.BytesIO()
        fastavro.schemaless_writer(body, SCHEMA, s)
        return bytes(PREFIX) + body.getvalue()


codecs.register("avro_llm", AvroCodec())


class LlmCall(faust.Record, serializer="avro_llm"):
    """What the job needs of a call."""

    time: datetime
    model: str
    status: str
    duration: int
    output_tokens: int
    cost: int


class Stats(faust.Record):
    """One window of one model; microseconds, nano-dollars."""

    count: int = 0
    errors: int = 0
    latency_sum: int = 0
    latency_min: int | None = None
    latency_max: int | None = None
    tokens: int = 0
    cost: int = 0


app = faust.App(
    os.environ.get("BENCH_APP", "stock-faust"),
    broker=os.environ.get("BENCH_BROKER", "kafka://127.0.0.1:9092"),
    store="memory://",
    topic_partitions=int(os.environ.get("BENCH_PARTITIONS", "4")),
)
calls = app.topic(os.environ.get("BENCH_TOPIC", "events.llm"), value_type=LlmCall)
table = app.Table("stats", default=Stats).tumbling(60.0, expires=timedelta(hours=1))
# on the class a field is Faust's descriptor, which its types do not tell
stats = table.relative_to_field(cast(Any, LlmCall.time))


@app.agent(calls)
async def aggregate(stream: Any) -> None:
    """Add every call to its window."""
    async for call in stream:
        now = stats[call.model].value()
        now.count += 1
        now.errors += call.status == "ERROR"
        now.latency_sum += call.duration
        if now.latency_min is None or call.duration < now.latency_min:
            now.latency_min = call.duration
        if now.latency_max is None or call.duration > now.latency_max:
            now.latency_max = call.duration
        now.tokens += call.output_tokens
        now.cost += call.cost
        stats[call.model] = now


if __name__ == "__main__":
    app.main()
