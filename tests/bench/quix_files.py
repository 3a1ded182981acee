"""Quix Streams' file sink, in Parquet, as its documentation has it; `quix.py` runs it.

The values are decoded by its own Avro deserializer with the registry. Nothing of ours is used.
"""

# mypy: ignore-errors
# pyright: reportMissingImports=false
# Quix Streams is in an environment of its own: no type checker finds it.

import json
import os

from quixstreams import Application
from quixstreams.models.serializers.avro import AvroDeserializer
from quixstreams.models.serializers.schema_registry import SchemaRegistryClientConfig
from quixstreams.sinks.community.file.formats import ParquetFormat
from quixstreams.sinks.community.file.local import LocalFileSink

os.chdir(os.environ["BENCH_FOLDER"])  # the sink refuses folders with `-` in their names
registry = SchemaRegistryClientConfig(url=os.environ["BENCH_REGISTRY"])
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
    key_deserializer="bytes",
    value_deserializer=AvroDeserializer(schema_registry_client_config=registry),
)


def attributes_as_text(value: dict) -> None:
    """An empty map becomes a struct without members, which Parquet does not take."""
    value["attributes"] = json.dumps(value["attributes"])


sink = LocalFileSink(directory="quix", format=ParquetFormat())
app.dataframe(topic).update(attributes_as_text).sink(sink)

if __name__ == "__main__":
    app.run()
