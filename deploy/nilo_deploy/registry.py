"""Apicurio Registry with Confluent's API.

The only ready-made build on Maven Central stores in H2, in memory by default. Given the URL of an
H2 file it keeps everything over restarts; the builds for PostgreSQL and Kafka are not published
there.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping

from nilo_deploy.artifacts import registry_jar, version_of
from nilo_deploy.parts import JAVA
from nilo_deploy.process import Command
from nilo_deploy.server import Server
from nilo_deploy.state import Choices, Home

NAME = "registry"
_API = "/apis/ccompat/v7"
# a relative path: a semicolon or the like in the home's name would end the path inside the URL;
# WRITE_DELAY=0: what was answered with 200 is on disk
_DATABASE = "jdbc:h2:file:./registry;WRITE_DELAY=0"


def url(choices: Choices) -> str:
    """The URL for Confluent's clients."""
    return f"http://127.0.0.1:{choices.ports[NAME]}{_API}"


def server(home: Home, choices: Choices) -> Server:
    """The registry."""
    folder, port = home.folder("registry"), choices.ports[NAME]
    return Server(
        name=NAME,
        part="registry",
        version=version_of("apicurio-registry-app"),
        address=url(choices),
        port=port,
        log=home.log(NAME),
        prepare=lambda: folder.mkdir(parents=True, exist_ok=True),
        command=lambda: Command(_argv(), folder, _environment(port)),
        healthy=lambda: _answers(port),
    )


def _argv() -> list[str]:
    options = ["-Xmx256m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"]
    return [str(JAVA), *options, "-jar", str(registry_jar())]


def _environment(port: int) -> Mapping[str, str]:
    return {
        "QUARKUS_HTTP_HOST": "127.0.0.1",
        "QUARKUS_HTTP_PORT": str(port),
        "REGISTRY_DATASOURCE_URL": _DATABASE,
    }


def _answers(port: int) -> bool:
    """Whether the registry lists its subjects; asked without any proxy of the environment."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", f"{_API}/subjects")
        response = connection.getresponse()
        return response.status == 200 and isinstance(json.load(response), list)
    except (OSError, http.client.HTTPException, ValueError):
        return False
    finally:
        connection.close()
