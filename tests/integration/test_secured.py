"""A broker behind TLS and SASL: the producer (librdkafka) and the processors (aiokafka) get in."""

from __future__ import annotations

import ipaddress
import os
import subprocess
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from nilo_deploy import kafka
from nilo_deploy.artifacts import fetch, kafka_classpath
from nilo_deploy.parts import JAVA
from nilo_deploy.state import Choices
from nilo_producers import Producer
from nilo_schemas.errors import UnreachableError
from nilo_schemas.families import LlmEvent
from nilo_schemas.settings import Settings, load_settings
from nilo_schemas.topics import create_topics
from tests.integration.programs import free_port, nilo, running, wait_for
from tests.integration.windows import newest_windows

pytestmark = pytest.mark.integration
PASSWORD = uuid.uuid4().hex
SECURED = """
listeners=PLAINTEXT://127.0.0.1:{own},SASL_SSL://127.0.0.1:{port},CONTROLLER://127.0.0.1:{quorum}
advertised.listeners=PLAINTEXT://127.0.0.1:{own},SASL_SSL://127.0.0.1:{port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SASL_SSL:SASL_SSL,CONTROLLER:PLAINTEXT
sasl.enabled.mechanisms=PLAIN
listener.name.sasl_ssl.plain.sasl.jaas.config=\
org.apache.kafka.common.security.plain.PlainLoginModule required user_nilo="{password}";
ssl.keystore.type=PEM
ssl.keystore.location={keystore}
"""


def certificate(folder: Path) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1: the broker's key store, and what clients trust."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    public = made.public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    store, trusted = folder / "broker.pem", folder / "ca.pem"
    store.write_bytes(private + public)
    trusted.write_bytes(public)
    return store, trusted


@pytest.fixture
def secured(stack: Settings, tmp_path: Path) -> Iterator[Settings]:
    """A broker of its own with a SASL_SSL listener; the registry is the session's."""
    fetch(kafka=True, registry=False, say=print)
    store, trusted = certificate(tmp_path)
    own, quorum, port = (int(free_port()) for _ in range(3))
    choices = Choices(
        brokers=1,
        cluster_id="c2VjdXJlZC1jbHVzdGVyLQ",
        ports={"kafka-1": own, "kafka-1-controller": quorum},
    )
    properties = tmp_path / "server.properties"
    properties.write_text(
        kafka.config_text(choices, 1)
        + SECURED.format(own=own, quorum=quorum, port=port, password=PASSWORD, keystore=store)
    )
    java = [str(JAVA), "-Xmx384m", "-cp", os.pathsep.join(map(str, kafka_classpath()))]
    format_it = [*java, "kafka.tools.StorageTool", "format", "-t", choices.cluster_id, "-c"]
    subprocess.run([*format_it, str(properties)], cwd=tmp_path, check=True, capture_output=True)
    with (tmp_path / "kafka.log").open("wb") as log:
        broker = subprocess.Popen(
            [*java, "kafka.Kafka", str(properties)], cwd=tmp_path, stdout=log, stderr=log
        )
    own_name = uuid.uuid4().hex[:8]
    yield load_settings(
        {
            "home": tmp_path / "home",
            "kafka_bootstrap_servers": f"127.0.0.1:{port}",
            "kafka_security_protocol": "SASL_SSL",
            "kafka_sasl_mechanism": "PLAIN",
            "kafka_sasl_username": "nilo",
            "kafka_sasl_password": PASSWORD,
            "kafka_ssl_ca_location": trusted,
            "schema_registry_url": stack.registry_url(),
            "topic_prefix": f"t{own_name}.",
            "partitions": 2,
            "report_every": 0.0,
        },
        env={},
    )
    broker.terminate()
    broker.wait(30)


def answers(settings: Settings) -> bool:
    try:
        return bool(list(create_topics(settings)))
    except UnreachableError:
        return False


def test_tls_and_sasl_settings_reach_every_client(secured: Settings, tmp_path: Path) -> None:
    wait_for("the broker", lambda: answers(secured))
    registered = nilo(secured, "schemas", "register")
    assert registered.returncode == 0, registered.stderr
    time = datetime(2026, 1, 1, tzinfo=UTC)
    with Producer(secured) as producer:
        for i in range(10):
            producer.emit(
                LlmEvent(
                    type="llm.call", source="test", model="m", time=time + timedelta(seconds=i)
                )
            )

    log = tmp_path / "process.log"
    with running(secured, "process", "--metrics-port", free_port(), log=log):
        wait_for(
            "the window",
            lambda: (
                [
                    window.count
                    for key, window in newest_windows(secured).items()
                    if key[:2] == ("llm.calls", "10s") and window.final
                ]
                == [10]
            ),
        )

    assert PASSWORD not in log.read_text()
    shown = nilo(secured, "config", "show")
    assert PASSWORD not in shown.stdout + shown.stderr


def test_a_wrong_password_is_one_clear_line(secured: Settings) -> None:
    wait_for("the broker", lambda: answers(secured))
    wrong = load_settings({}, env=secured.environment() | {"NILO_KAFKA_SASL_PASSWORD": "wrong"})

    refused = nilo(wrong, "topics", "list")

    assert refused.returncode == 1
    assert len(refused.stderr.strip().splitlines()) == 1
    assert "authentication" in refused.stderr.lower()
