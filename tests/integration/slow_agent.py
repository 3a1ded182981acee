"""A worker over our transport whose agent does a chunk only when it is told to.

`python -m tests.integration.slow_agent TOPIC`; a number on a line of stdin lets it do so many
chunks. It prints how it stands, as a JSON object per line.
"""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from typing import Any

import psutil

from nilo_schemas.settings import load_settings
from nilo_stream_processors.transport import Chunk
from tests.bench.transports import reader, run_app


def main() -> None:
    """See above."""
    topic = sys.argv[1]
    app = reader(load_settings(), topic)
    leave = asyncio.Semaphore(0)
    done = {"chunks": 0, "events": 0, "gaps": 0, "largest": 0}
    ends: dict[int, int] = {}

    def count(partition: int, chunk: Chunk) -> None:
        offsets = chunk.offsets()
        begin = ends.get(partition, 0)
        done["gaps"] += not (offsets == range(begin, begin + len(chunk))).all()
        ends[partition] = chunk.offset + 1
        done["chunks"] += 1
        done["events"] += len(chunk.values())
        done["largest"] = max(done["largest"], chunk.size)

    async def take(stream: Any) -> None:
        async for event in stream.events():
            await leave.acquire()
            count(event.message.partition, event.value)

    async def tell() -> None:
        in_hand = sum(app.consumer.in_hand().values())
        memory = psutil.Process().memory_info().rss
        print(json.dumps({"in_hand": in_hand, "memory": memory, **done}), flush=True)

    def obey() -> None:
        for line in sys.stdin:
            for _ in range(int(line)):
                app.loop.call_soon_threadsafe(leave.release)

    app.agent(app.topic(topic, key_serializer="raw", value_serializer="raw"))(take)
    app.timer(0.2)(tell)
    threading.Thread(target=obey, daemon=True).start()
    run_app(app)


if __name__ == "__main__":
    main()
