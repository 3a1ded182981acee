"""How long after its end a stream's last window is final."""

from __future__ import annotations

import time
from pathlib import Path

from nilo_schemas.catalogue_files import load_catalogue
from nilo_schemas.settings import Settings
from tests.chaos.compare import differences
from tests.chaos.faults import Say, fleet
from tests.chaos.load import Feeder, Load
from tests.chaos.observed import Observed
from tests.chaos.round import read_back, wait_until_right
from tests.chaos.schedule import Action, Plan

STREAM = Load(rate=500, seconds=10, seed="idle")


def measure_idle_close(settings: Settings, logs: Path, say: Say) -> tuple[float, list[str]]:
    """Stop a stream that one worker follows, and wait until all its windows are final.

    Returns:
        Seconds from the last acknowledged event to the message that made the last window final,
        by the clock of this machine; and what was wrong with the windows.
    """
    feeder, catalogue = Feeder(settings, STREAM), load_catalogue(settings.catalogue)
    with fleet(settings, logs, say) as workers:
        workers.carry_out(Plan((Action(0, "start", 1),)), time.monotonic())
        feeder.start()
        feeder.finish()
        expected, observed = read_back(settings, catalogue), Observed(settings)

        def wrong() -> list[str]:
            return differences(expected.windows, observed.newest_final(), catalogue)

        wait_until_right(observed, wrong, workers.supervise)
        workers.stop()
    observed.close()
    return observed.last_became_final_ms() / 1000 - feeder.acknowledged_at, wrong()
