"""Print `servers.lock` anew: `python -m nilo_deploy.relock > servers.lock`, after a new version.

jgo resolves what the named artifacts need, downloads it and the sizes and hashes are taken.
"""

from __future__ import annotations

import hashlib
from tempfile import TemporaryDirectory
from pathlib import Path

from jgo.maven import MavenContext

_KAFKA = ("org.apache.kafka:kafka_2.13:4.1.1", "org.apache.logging.log4j:log4j-slf4j-impl:2.24.3")
_REGISTRY = ("io.apicurio", "apicurio-registry-app", "2.6.13.Final", "all", "tar.gz")


def main() -> None:
    """Resolve, download and print."""
    with TemporaryDirectory() as folder:
        context = MavenContext(repo_cache=Path(folder))
        wanted = [context.create_dependency(coordinate) for coordinate in _KAFKA]
        inputs, transitive = context.resolver.resolve(wanted)
        jars = sorted((d.artifact for d in [*inputs, *transitive]), key=lambda a: str(a))
        group, name, version, classifier, kind = _REGISTRY
        registry = context.project(group, name).at_version(version).artifact(classifier, kind)
        print("# sha256, bytes, coordinate; made by `python -m nilo_deploy.relock`")
        for artifact in (registry, *jars):
            content = artifact.resolve().read_bytes()
            parts = [artifact.groupId, artifact.artifactId, artifact.version]
            parts += [artifact.classifier, artifact.packaging] if artifact.classifier else []
            print(hashlib.sha256(content).hexdigest(), len(content), ":".join(parts))


if __name__ == "__main__":
    main()
