"""Settings: which layer wins, what is refused, and that no secret is ever shown."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nilo_schemas.clients import kafka_config
from nilo_schemas.errors import SettingsError
from nilo_schemas.settings import RUN_FILE_KEYS, Settings, load_settings

ALIASES = {
    "KAFKA_BOOTSTRAP_SERVERS": "kafka_bootstrap_servers",
    "SCHEMA_REGISTRY_URL": "schema_registry_url",
    "DATABASE_URL": "database_url",
    "SCHEMA_REGISTRY_BASIC_AUTH_USER_INFO": "schema_registry_user_info",
}
SASL = {
    "kafka_security_protocol": "SASL_SSL",
    "kafka_sasl_mechanism": "SCRAM-SHA-512",
    "kafka_sasl_username": "nilo",
    "kafka_sasl_password": "hush-hush",
}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory that is also the home; the environment is given by the test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def run_file(home: Path, content: str) -> None:
    (home / ".nilometer").mkdir(exist_ok=True)
    (home / ".nilometer" / "run.json").write_text(content)


def test_the_first_layer_that_has_a_value_wins(home: Path) -> None:
    layers = {"kafka_bootstrap_servers": "run:1", "schema_registry_url": "x", "database_url": "y"}
    run_file(home, json.dumps(layers | {"replication_factor": 3, "pids": [1]}))
    settings = load_settings(env={})
    assert settings.brokers() == "run:1"
    assert settings.replication_factor == 3
    assert settings.source("kafka_bootstrap_servers").startswith("run file ")

    (home / "nilo.toml").write_text('kafka_bootstrap_servers = "toml:1"\n')
    settings = load_settings(env={})
    assert (settings.brokers(), settings.source("kafka_bootstrap_servers")) == (
        "toml:1",
        "nilo.toml",
    )
    settings = load_settings(env={"KAFKA_BOOTSTRAP_SERVERS": "env:1"})
    assert (settings.brokers(), settings.source("kafka_bootstrap_servers")) == (
        "env:1",
        "environment KAFKA_BOOTSTRAP_SERVERS",
    )
    settings = load_settings(
        {"kafka_bootstrap_servers": "flag:1"}, {"KAFKA_BOOTSTRAP_SERVERS": "e"}
    )
    assert (settings.brokers(), settings.source("kafka_bootstrap_servers")) == (
        "flag:1",
        "flag --kafka-bootstrap-servers",
    )
    assert load_settings({"kafka_bootstrap_servers": None}, {}).brokers() == "toml:1"


def test_only_what_the_stack_knows_comes_from_its_run_file(home: Path) -> None:
    run_file(home, json.dumps({"topic_prefix": "sneaky.", "replication_factor": 2}))
    assert load_settings(env={}).topic_prefix == ""
    assert "topic_prefix" not in RUN_FILE_KEYS


@pytest.mark.parametrize("alias", ALIASES)
def test_the_well_known_name_counts_and_ours_goes_before_it(alias: str) -> None:
    name = ALIASES[alias]
    ours = f"NILO_{name.upper()}"
    assert load_settings(env={alias: "theirs"}).source(name) == f"environment {alias}"
    assert load_settings(env={alias: "theirs", ours: "ours"}).source(name) == f"environment {ours}"


@pytest.mark.parametrize("name", [name for name in Settings.model_fields if name != "home"])
def test_every_setting_has_its_environment_variable(name: str) -> None:
    words = {
        "kafka_security_protocol": "SSL",
        "kafka_sasl_mechanism": "PLAIN",
        "hot_days_by_topic": "events.llm=7",
        "warm_days_by_topic": "events.llm=7",
        "cold_days_by_topic": "events.llm=7",
        "windows_keep": "1m=1",
        "prometheus_histograms": "native",
        "influx_url": "http://own",
        "pushgateway_url": "http://own",
    }
    value = words.get(name, "own")
    if Settings.model_fields[name].annotation in (int, float, float | None):
        value = "1"
    assert load_settings(env={f"NILO_{name.upper()}": value}).source(name).startswith("environment")


def test_home_moves_the_run_file(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "run.json").write_text('{"kafka_bootstrap_servers": "there:1"}')
    settings = load_settings(env={"NILO_HOME": str(other)})
    assert settings.brokers() == "there:1"
    assert settings.run_file == other / "run.json"


@pytest.mark.parametrize(
    ("content", "word"),
    [("a = ", "TOML"), ("colour = 1", "colour"), ("partitions = 0", r"partitions.*nilo\.toml")],
)
def test_a_bad_nilo_toml_says_what_is_wrong(home: Path, content: str, word: str) -> None:
    (home / "nilo.toml").write_text(content)
    with pytest.raises(SettingsError, match=word):
        load_settings(env={})


@pytest.mark.parametrize("content", ["", "{", "5", "[]", '"text"'])
def test_a_broken_run_file_says_what_to_do(home: Path, content: str) -> None:
    run_file(home, content)
    with pytest.raises(SettingsError, match=r"run\.json.*nilo up"):
        load_settings(env={})


def test_a_run_file_that_is_a_folder_says_what_to_do(home: Path) -> None:
    (home / ".nilometer" / "run.json").mkdir(parents=True)
    with pytest.raises(SettingsError, match="nilo up"):
        load_settings(env={})


def test_a_value_that_does_not_fit_names_its_variable() -> None:
    with pytest.raises(SettingsError, match=r"partitions.*environment NILO_PARTITIONS"):
        load_settings(env={"NILO_PARTITIONS": "many"})
    with pytest.raises(SettingsError, match="topic_prefix"):
        load_settings(env={"NILO_TOPIC_PREFIX": "a_b"})


@pytest.mark.parametrize(
    "missing", ["kafka_sasl_mechanism", "kafka_sasl_username", "kafka_sasl_password"]
)
def test_sasl_needs_all_three(missing: str) -> None:
    flags = {name: value for name, value in SASL.items() if name != missing}
    with pytest.raises(SettingsError, match=missing) as caught:
        load_settings(flags, {})
    assert "hush" not in str(caught.value)


def test_sasl_and_tls_reach_librdkafka() -> None:
    flags = SASL | {"kafka_bootstrap_servers": "b:1", "kafka_ssl_ca_location": "/ca.pem"}
    assert kafka_config(load_settings(flags, {}), group_id="g") == {
        "bootstrap.servers": "b:1",
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": "nilo",
        "sasl.password": "hush-hush",
        "ssl.ca.location": "/ca.pem",
        "group.id": "g",
    }


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://nilo:hush@h:5432/db", "postgresql://nilo:****@h:5432/db"),
        ("postgresql://nilo:hu@hush@h/db", "postgresql://nilo:****@h/db"),
        ("postgresql://nilo:hu/hush@h/db", "postgresql://nilo:****@h/db"),
        (
            "postgresql://h/db?user=n&password=hush&x=1",
            "postgresql://h/db?user=n&password=****&x=1",
        ),
        ("host=h password=hush dbname=d", "host=h password=**** dbname=d"),
        ("host=h password='hu hush' dbname=d", "host=h password=**** dbname=d"),
        ("postgresql://nilo@h/db", "postgresql://nilo@h/db"),
    ],
)
def test_the_password_of_the_database_is_never_shown(url: str, shown: str) -> None:
    settings = load_settings({"database_url": url}, {})
    assert settings.shown("database_url") == shown
    assert settings.database() == url
    assert "hush" not in f"{settings!r} {settings} {settings.model_dump()}"


def test_no_secret_is_ever_shown() -> None:
    secrets = {"kafka_ssl_key_password": "hush1", "schema_registry_user_info": "u:hush2"}
    settings = load_settings(SASL | secrets, {})
    for name in ("kafka_sasl_password", *secrets):
        assert settings.shown(name) == "****"
    assert "hush" not in f"{settings!r} {settings} {settings.model_dump()}"


def test_a_registry_url_with_a_password_is_refused_without_telling_it() -> None:
    with pytest.raises(SettingsError, match="schema_registry_user_info") as caught:
        load_settings({"schema_registry_url": "https://u:hush@registry"}, {})
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize("ask", [Settings.brokers, Settings.registry_url, Settings.database])
def test_what_is_not_known_says_how_to_get_it(ask: object) -> None:
    with pytest.raises(SettingsError, match="nilo up"):
        ask(load_settings(env={}))  # type: ignore[operator]  # three methods of one shape


@pytest.mark.parametrize(
    "given",
    [
        {"influx_url": "http://u:hush@influx:8086/write"},
        {"influx_url": "http://influx:8086/write?db=x&u=me&p=hush"},
        {"pushgateway_url": "http://u:hush@gateway:9091"},
    ],
)
def test_a_store_url_with_a_password_is_refused_without_showing_it(given: dict[str, str]) -> None:
    with pytest.raises(SettingsError, match="holds a password") as refused:
        load_settings(given, env={})
    assert "hush" not in str(refused.value)


@pytest.mark.parametrize("name", ["influx_url", "pushgateway_url"])
def test_a_store_url_is_one_of_http(name: str) -> None:
    with pytest.raises(SettingsError, match=name):
        load_settings({name: "file:///etc/passwd"}, env={})


def test_line_protocol_is_always_in_nanoseconds() -> None:
    with pytest.raises(SettingsError, match="leave it out"):
        load_settings({"influx_url": "http://influx/api/v2/write?precision=ms"}, env={})
