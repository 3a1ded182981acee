"""`nilo process` whose consumer falls silent: aiokafka's fetching task ends, and nothing says so.

`python -m tests.integration.silent_worker PORT`; it happens at the first line on stdin.
"""

from __future__ import annotations

import sys
import threading
from typing import Any

import faust

from nilo_schemas.settings import load_settings
from nilo_stream_processors.app import create_app


def main() -> None:
    """See above."""
    app: Any = create_app(load_settings(), web_port=int(sys.argv[1]))

    def fall_silent() -> None:
        sys.stdin.readline()
        thread = app.consumer._thread
        task = thread._consumer._fetcher._fetch_task
        thread.thread_loop.call_soon_threadsafe(task.cancel)

    threading.Thread(target=fall_silent, daemon=True).start()
    faust.Worker(app, loglevel="INFO", redirect_stdouts=False).execute_from_commandline()


if __name__ == "__main__":
    main()
