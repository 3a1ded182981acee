"""Quix Streams' PostgreSQL sink as its documentation has it; `quix.py` runs it.

The values are decoded by its own Avro deserializer with the registry. Nothing of ours is used.
The sink makes its own table, which has neither key nor index.
"""

# mypy: ignore-errors
# pyright: reportMissingImports=false
# Quix Streams is in an environment of its own: no type checker finds it.

import os
from urllib.parse import urlsplit

from quixstreams import Application
from quixstreams.models.serializers.avro import AvroDeserializer
from quixstreams.models.serializers.schema_registry import SchemaRegistryClientConfig
from quixstreams.sinks.community.postgresql import PostgreSQLSink

registry = SchemaRegistryClientConfig(url=os.environ["BENCH_REGISTRY"])
database = urlsplit(os.environ["BENCH_DATABASE"])
app = Application(
    broker_address=os.environ["BENCH_BROKER"],
    consumer_group=os.environ["BENCH_GROUP"],
    auto_offset_reset="earliest",
    commit_every=int(os.environ["BENCH_COMMIT_EVERY"]),
    auto_create_topics=False,
    loglevel="WARNING",
)
topic = app.topic(
    os.environ["BENCH_TOPIC"],
    key_deserializer="str",
    value_deserializer=AvroDeserializer(schema_registry_client_config=registry),
)
sink = PostgreSQLSink(
    host=database.hostname,
    port=database.port,
    dbname=database.path.lstrip("/"),
    user=database.username,
    password=database.password,
    schema_name=os.environ["BENCH_SCHEMA"],
    table_name="events_llm",
)
app.dataframe(topic).sink(sink)

if __name__ == "__main__":
    app.run()
