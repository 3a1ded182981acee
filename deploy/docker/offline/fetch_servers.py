"""Lay the jars of Kafka and of Apicurio Registry out for the offline images.

Usage: python fetch_servers.py FOLDER
"""

from __future__ import annotations

import sys
import tarfile
from pathlib import Path
from shutil import copy

import jgo
from jgo.maven import MavenContext

KAFKA_MODULES = ("org.apache.kafka:kafka_2.13:4.1.1", "org.apache.kafka:kafka-tools:4.1.1")
LOG_BINDING = "2.24.3"
REGISTRY = "2.6.13.Final"


def fetch_kafka(folder: Path) -> None:
    """Copy the jars of the broker and of its command-line tools into a folder.

    Args:
        folder: receives `*.jar`; made when it is missing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for artifact in jgo.resolve("+".join(KAFKA_MODULES)):
        copy(artifact.resolve(), folder)
    # without it the broker logs nothing; its own dependencies would bring an old kafka-clients
    binding = MavenContext().project("org.apache.logging.log4j", "log4j-slf4j-impl")
    copy(binding.at_version(LOG_BINDING).artifact().resolve(), folder)


def fetch_registry(folder: Path) -> None:
    """Unpack the registry, which is published to Maven with H2 storage only, into a folder.

    Args:
        folder: receives the runner's jar and `lib/`; made when it is missing.
    """
    project = MavenContext().project("io.apicurio", "apicurio-registry-app")
    archive = project.at_version(REGISTRY).artifact(classifier="all", packaging="tar.gz").resolve()
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")


if __name__ == "__main__":
    target = Path(sys.argv[1])
    fetch_kafka(target / "kafka")
    fetch_registry(target / "registry")
