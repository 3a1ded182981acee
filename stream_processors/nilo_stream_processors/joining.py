"""How a worker joins its group: aiokafka's way, mended in two places.

aiokafka has no hooks there, so what its coordinator does is wrapped.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Any

from aiokafka.client import ConnectionGroup

# For so long the leader asks for the partitions of topics. All topics are there when a worker
# starts, so it is the broker that does not answer, or somebody has deleted one.
METADATA_SECONDS, RETRY_SECONDS = 10.0, 0.2
# A join waits for all other workers, and for one that was killed as long as its session lasts. At a
# stop nobody needs what it brings.
STOP_SECONDS = 2.0
log = logging.getLogger(__name__)


def tend(coordinator: Any) -> None:
    """Let the coordinator of a consumer know what it gives out, and stop when it is to stop."""
    perform, join = coordinator._perform_assignment, coordinator._do_rejoin_group

    async def informed(response: Any) -> Any:
        await know_topics(coordinator)
        return await perform(response)

    async def interruptible(subscription: Any) -> bool:
        joining = asyncio.ensure_future(join(subscription))
        await asyncio.wait({joining, coordinator._closing}, return_when=asyncio.FIRST_COMPLETED)
        done, _ = await asyncio.wait({joining}, timeout=STOP_SECONDS)
        return joining.result() if done else await _give_up(coordinator, joining)

    coordinator._perform_assignment, coordinator._do_rejoin_group = informed, interruptible


async def know_topics(coordinator: Any) -> None:
    """Wait until the partitions of all our topics are known, or for `METADATA_SECONDS`.

    The leader gives out what it knows of. While a broker comes up that may be nothing, and then no
    worker would have work until somebody joins the group or the metadata is too old.
    """
    clock = asyncio.get_running_loop().time
    deadline = clock() + METADATA_SECONDS
    while not _knows(coordinator) and clock() < deadline:
        await coordinator._client.force_metadata_update()
        if not _knows(coordinator):
            await asyncio.sleep(RETRY_SECONDS)


def _knows(coordinator: Any) -> bool:
    cluster = coordinator._cluster
    return all(map(cluster.partitions_for_topic, coordinator._subscription.topics))


async def _give_up(coordinator: Any, joining: asyncio.Future[bool]) -> bool:
    log.info("the group is still joining: leaving without waiting for it")
    joining.cancel()
    with contextlib.suppress(asyncio.CancelledError):  # by the line above, and nobody asks for it
        await joining
    # The broker reads nothing behind a request that it has not answered, and we want to leave.
    place = coordinator.coordinator_id, ConnectionGroup.COORDINATION
    if connection := coordinator._client._conns.pop(place, None):
        connection.close()
    return False
