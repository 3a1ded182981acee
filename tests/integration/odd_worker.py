"""`nilo …` in which one thing is not as it should be; the word before the command says what.

- forgetful: when it becomes the leader of its group its client knows of no partition, as when a
  broker has just come up, and it will not ask before long
- patient: its session is so long that a group waits for it when it is frozen

`python -m tests.integration.odd_worker patient process --metrics-port 9000`
"""

from __future__ import annotations

import sys
from typing import Any

from aiokafka.consumer.group_coordinator import CoordinatorGroupRebalance

from nilo_cli.main import run
from nilo_stream_processors import app

HOUR = 3_600_000  # milliseconds
LONG_SESSION = 85.0  # seconds; Faust wants less than the 90 of its requests


def forgetful() -> None:
    lead = CoordinatorGroupRebalance._on_join_leader

    async def forgets(self: Any, response: Any) -> Any:
        self._coordinator._cluster._partitions.clear()
        return await lead(self, response)

    CoordinatorGroupRebalance._on_join_leader = forgets
    app.METADATA_MILLISECONDS = HOUR


def patient() -> None:
    app.SESSION_SECONDS = LONG_SESSION  # type: ignore[attr-defined]  # imported there


if __name__ == "__main__":
    {"forgetful": forgetful, "patient": patient}[sys.argv.pop(1)]()
    run()
