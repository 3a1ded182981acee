"""Print `servers.lock` anew: `python -m nilo_deploy.relock > servers.lock`, after a new version.

jgo resolves what the named artifacts need, downloads it, and sizes and hashes are taken.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from tempfile import TemporaryDirectory

from jgo.maven import Artifact, MavenContext

_KAFKA = "org.apache.kafka:kafka_2.13:4.1.1"
# Kafka's logging: its dependencies are Kafka's own. Resolved together with Kafka, its BOM would
# bring kafka-clients 3.8.
_LOGGING = ("org.apache.logging.log4j", "log4j-slf4j-impl", "2.24.3", "", "jar")
_REGISTRY = ("io.apicurio", "apicurio-registry-app", "2.6.13.Final", "all", "tar.gz")


def main() -> None:
    """Resolve, download and print."""
    print("# sha256, bytes, coordinate; made by `python -m nilo_deploy.relock`")
    with TemporaryDirectory() as folder:
        context = MavenContext(repo_cache=Path(folder))
        kafka = context.create_dependency(_KAFKA)
        inputs, transitive = context.resolver.resolve([kafka])
        jars = sorted((each.artifact for each in [*inputs, *transitive]), key=str)
        for group, name, version, *kind in (_REGISTRY, _LOGGING):
            print(_line(context.project(group, name).at_version(version).artifact(*kind)))
        for jar in jars:
            print(_line(jar))


def _line(artifact: Artifact) -> str:
    content = artifact.resolve().read_bytes()
    parts = [artifact.groupId, artifact.artifactId, artifact.version]
    if artifact.classifier:
        parts += [artifact.classifier, artifact.packaging]
    return f"{hashlib.sha256(content).hexdigest()} {len(content)} {':'.join(parts)}"


if __name__ == "__main__":
    main()
