"""A sink that is killed soon, as a process: its group misses it after the least that brokers allow.

`python -m tests.integration.conformance.short_lived influx metrics.windows 9000`
"""

from __future__ import annotations

import logging
import sys
import threading

from nilo_consumers import group, run_sink
from nilo_consumers.batch import Policy
from nilo_consumers.pushgateway import PushgatewaySink
from nilo_schemas.settings import load_settings

SESSION_MS = 6_000
SOON = Policy(10_000, 0.2)

if __name__ == "__main__":
    name, topic, port = sys.argv[1:]
    logging.basicConfig(level=logging.INFO)
    group._SESSION_MS = SESSION_MS
    PushgatewaySink.policy = SOON
    run_sink(
        name, load_settings(), stop=threading.Event(), topics=[topic], metrics_port=int(port)
    )  # fmt: skip
