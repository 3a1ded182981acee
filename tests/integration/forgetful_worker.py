"""A worker whose client knows of no partition when it becomes the leader of its group.

So it is when a broker has just come up. Run as `python -m tests.integration.forgetful_worker PORT`.
"""

from __future__ import annotations

import sys
from typing import Any

from aiokafka.consumer.group_coordinator import CoordinatorGroupRebalance

from nilo_schemas.settings import load_settings
from nilo_stream_processors.worker import run_worker

_lead = CoordinatorGroupRebalance._on_join_leader


async def forgetful(self: Any, response: Any) -> Any:
    self._coordinator._cluster._partitions.clear()
    return await _lead(self, response)


if __name__ == "__main__":
    CoordinatorGroupRebalance._on_join_leader = forgetful
    run_worker(load_settings(), metrics_port=int(sys.argv[1]))
