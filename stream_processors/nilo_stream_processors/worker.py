"""One worker process: the Faust app with logs, signals and a clean end."""

from __future__ import annotations

import faust

from nilo_schemas.collector import tune_gc
from nilo_schemas.settings import Settings
from nilo_stream_processors.app import create_app
from nilo_stream_processors.logs import quiet


def run_worker(
    settings: Settings, *, metrics_host: str = "127.0.0.1", metrics_port: int = 9465
) -> None:
    """Run the processors until SIGINT or SIGTERM; never returns: exits 0, or 1 after a crash.

    `/metrics` and `/health` are served at `metrics_host:metrics_port`.

    Raises:
        SettingsError: no broker or registry is known.
        CatalogueError: the catalogue is refused.
    """
    app = create_app(settings, web_host=metrics_host, web_port=metrics_port)
    tune_gc()
    quiet()
    faust.Worker(
        app, loglevel="INFO", quiet=False, redirect_stdouts=False
    ).execute_from_commandline()
