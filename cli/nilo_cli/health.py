"""Which servers answer, and whether they hold what we need: the rows of `nilo status`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

from nilo_cli.cluster import connect, group_lags, our_topics
from nilo_cli.output import Row
from nilo_schemas.clients import registry_client
from nilo_schemas.contracts import records
from nilo_schemas.errors import ContractError, NiloError, UnreachableError
from nilo_schemas.registry import Registry
from nilo_schemas.settings import Settings
from nilo_schemas.topics import topic_specs

if TYPE_CHECKING:
    from nilo_deploy import ServerState

Part = Literal["kafka", "registry", "postgres"]
PARTS: dict[Part, str] = {
    "kafka": "kafka_bootstrap_servers",
    "registry": "schema_registry_url",
    "postgres": "database_url",
}
LIMIT = 5  # seconds in which a server must answer


def row(name: str, state: str, address: str = "", version: str = "", detail: str = "") -> Row:
    """One row of `nilo status`; everything is well when `state` is `up` or `ok`."""
    return {
        "name": name,
        "state": state,
        "address": address,
        "version": version,
        "detail": detail,
    }


def elsewhere(settings: Settings) -> list[Part]:
    """The parts whose server is configured and not that of the embedded stack."""
    return [
        part
        for part, name in PARTS.items()
        if not settings.source(name).startswith(("run file", "default"))
    ]


def embedded(server: ServerState) -> Row:
    """A server of the embedded stack."""
    detail = f"log: {server.log}" if server.uptime is None else f"up {_span(server.uptime)}"
    return row(server.name, server.state, server.address, server.version, detail)


def asked(part: Part, settings: Settings) -> Row:
    """A server elsewhere, asked whether it answers."""
    address = settings.shown(PARTS[part])
    try:
        _ASK[part](settings)
    except NiloError as error:
        return row(part, "down", address, detail=str(error))
    return row(part, "up", address, detail=f"from {settings.source(PARTS[part])}")


def _ask_kafka(settings: Settings) -> None:
    connect(settings, LIMIT)


def _ask_registry(settings: Settings) -> None:
    try:
        registry_client(settings).get_subjects()
    except NiloError:
        raise
    except Exception as error:
        # errors of its HTTP library come through; which library varies by version
        raise UnreachableError(f"no answer: {error}") from error


def _ask_postgres(settings: Settings) -> None:
    import psycopg  # noqa: PLC0415  only the extra `consumers` brings it

    try:
        psycopg.connect(settings.database(), connect_timeout=LIMIT).close()
    except psycopg.Error as error:
        # psycopg never puts the password into its texts
        raise UnreachableError(f"no answer: {' '.join(str(error).split())}") from error


_ASK = {"kafka": _ask_kafka, "registry": _ask_registry, "postgres": _ask_postgres}


def contents(settings: Settings) -> Iterator[Row]:
    """Topics, contracts and the lag of our consumer groups."""
    try:
        admin, existing = connect(settings, LIMIT)
    except NiloError as error:
        yield row("topics", "unknown", detail=str(error))
    else:
        found, wanted = len(our_topics(settings, existing)), len(topic_specs(settings))
        way_out = "" if found == wanted else "; run `nilo topics create`"
        yield row("topics", _state(found, wanted), detail=f"{found} of {wanted}{way_out}")
        for group, lag in group_lags(admin, settings).items():
            yield row(group, "ok", detail=f"{lag:,} messages behind")
    yield _contracts(settings)


def _contracts(settings: Settings) -> Row:
    found, known = 0, records().values()
    try:
        registry = Registry(settings)
        for record in known:
            found += _is_registered(registry, record)
    except NiloError as error:
        return row("contracts", "unknown", detail=str(error))
    way_out = "" if found == len(known) else "; run `nilo schemas register`"
    return row("contracts", _state(found, len(known)), detail=f"{found} of {len(known)}{way_out}")


def _is_registered(registry: Registry, record: type) -> bool:
    try:
        registry.schema_id(record)
    except ContractError:
        return False
    return True


def _state(found: int, wanted: int) -> str:
    return "ok" if found == wanted else "missing"


def _span(seconds: float) -> str:
    minutes = int(seconds) // 60
    days, hours = minutes // 1440, minutes // 60 % 24
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"
