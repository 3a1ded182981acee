"""The sinks of windows, which keep no rows and no offsets: what is given twice overwrites itself.

A record is a window of ten events in a series of its own. It is sent as two revisions, the first
with fewer events: a store has it once when it tells of ten.
"""

from __future__ import annotations

import re
import socket
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import ClassVar

import pytest
from pydantic import SecretStr

from nilo_consumers.influx import InfluxSink
from nilo_consumers.prometheus import PrometheusSink
from nilo_consumers.pushgateway import PushgatewaySink
from nilo_schemas.codec import encode
from nilo_schemas.registry import Registry
from nilo_schemas.results import MetricWindow
from nilo_schemas.settings import Settings
from tests.integration.conformance.case import Case
from tests.integration.conformance.short_lived import SOON
from tests.integration.gateway import gateway
from tests.integration.line_server import line_server
from tests.integration.programs import Program, free_port, healthy, wait_for
from tests.integration.sinking import Running, get, produce
from tests.integration.test_prometheus import window

EVENTS = 10
_TOKEN = "t0ken-nobody-may-see"
_COUNTED = re.compile(r'^nilo_llm_duration_events_total\{.*model="(\d+)".*\} (\S+)$', re.MULTILINE)


class Windows(Case):
    """A window is known by its model."""

    topic = "metrics.windows"
    scale = 0.0035  # a metric has a thousand series at most

    def __init__(self, settings: Settings, patch: pytest.MonkeyPatch) -> None:
        super().__init__(settings, patch)
        self._sent = 0

    def send(self, number: int, *, partition: int | None = None) -> None:
        schema_id = Registry(self.settings).schema_id(MetricWindow)
        by_partition: dict[int, list[bytes]] = {}
        for model in range(self._sent, self._sent + number):
            where = model % self.settings.partitions if partition is None else partition
            by_partition.setdefault(where, []).extend(
                encode(_window(model, revision, events), schema_id)
                for revision, events in enumerate((EVENTS // 2, EVENTS))
            )
        self._sent += number
        for where, values in by_partition.items():
            produce(self.settings, self.topic, values, partition=where)

    def poison(self) -> bytes:
        return b"garbage"

    def held(self) -> int:
        return round(sum(self.counted().values())) // EVENTS

    def different(self) -> int:
        return len(self.counted())

    @abstractmethod
    def counted(self) -> dict[str, float]:
        """The events of each model that the store tells of."""


def _window(model: int, revision: int, events: int) -> MetricWindow:
    return window(dimensions={"model": str(model)}, revision=revision, count=events)


class Influx(Windows):
    """Its server goes away and keeps its points; its offsets are the group's."""

    name, sink, says = "influx", InfluxSink, "does not answer"
    scale, resumes = 0.02, "group"

    def __init__(self, settings: Settings, patch: pytest.MonkeyPatch) -> None:
        super().__init__(settings, patch)
        self._exits = ExitStack()
        self.server = self._exits.enter_context(line_server())
        reached = {"influx_url": self.server.url, "influx_token": SecretStr(_TOKEN)}
        self.settings = settings.model_copy(update=reached)

    def poison(self) -> bytes:
        schema_id = Registry(self.settings).schema_id(MetricWindow)
        return encode(window(dimensions={"model": "poison"}), schema_id)

    @contextmanager
    def process(self, log: Path) -> Iterator[Program]:
        with super().process(log) as process:
            yield process
        assert _TOKEN not in log.read_text()

    @contextmanager
    def away(self) -> Iterator[None]:
        port, points = self.server.server_port, self.server.points
        self._exits.close()
        yield
        self.server = self._exits.enter_context(line_server(port, points))

    def close(self) -> None:
        self._exits.close()

    def counted(self) -> dict[str, float]:
        points = self.server.points.copy()  # at once: more may come meanwhile
        return {
            dict(tags)["model"]: float(fields["count"][:-1])
            for (_, tags, _), fields in points.items()
        }


class Pushgateway(Windows):
    """A gateway that is stopped forgets all; the next page brings it back.

    Two sinks push as from two machines: of one machine the gateway keeps one page.
    """

    name, sink, says, buries = "pushgateway", PushgatewaySink, "does not answer", False

    def __init__(self, settings: Settings, patch: pytest.MonkeyPatch) -> None:
        super().__init__(settings, patch)
        self._exits, self._gateway = ExitStack(), free_port()
        url = self._exits.enter_context(gateway(self._gateway))
        self.settings = settings.model_copy(update={"pushgateway_url": url})
        self._machines = ["c", "b", "a"]
        patch.setattr(PushgatewaySink, "policy", SOON)

    @contextmanager
    def running(self) -> Iterator[Running]:
        machine = self._machines.pop()
        self.patch.setattr(socket, "gethostname", lambda: machine)
        with super().running() as sink:
            yield sink
        self._machines.append(machine)

    @contextmanager
    def away(self) -> Iterator[None]:
        self._exits.close()
        yield
        self._exits.enter_context(gateway(self._gateway))

    def close(self) -> None:
        self._exits.close()

    def counted(self) -> dict[str, float]:
        return _shown(get(f"{self.settings.pushgateway_url}/metrics")[1])


class Prometheus(Windows):
    """Its store is its page: all that are shown at the moment are read together."""

    name, sink, buries = "prometheus", PrometheusSink, False
    without: ClassVar[dict[str, str]] = {
        "test_through_reconnect": "it has no store that could go away: it is asked"
    }

    def __init__(self, settings: Settings, patch: pytest.MonkeyPatch) -> None:
        super().__init__(settings, patch)
        self._pages: list[str] = []

    @contextmanager
    def running(self) -> Iterator[Running]:
        with super().running() as sink, self._page(f"{sink.url}"):
            yield sink

    @contextmanager
    def process(self, log: Path) -> Iterator[Program]:
        with super().process(log) as process:
            wait_for("health", lambda: healthy(self.port))
            with self._page(f"http://127.0.0.1:{self.port}"):
                yield process

    @contextmanager
    def _page(self, url: str) -> Iterator[None]:
        self._pages.append(url)
        yield
        self._pages.remove(url)

    def away(self) -> AbstractContextManager[None]:
        raise AssertionError(self.without)

    def counted(self) -> dict[str, float]:
        return _shown("\n".join(get(f"{page}/metrics")[1] for page in self._pages))


def _shown(text: str) -> dict[str, float]:
    """The events of each model; what a sink still shows that another has taken over is the same."""
    found: dict[str, float] = {}
    for model, events in _COUNTED.findall(text):
        found[model] = max(found.get(model, 0.0), float(events))
    return found
