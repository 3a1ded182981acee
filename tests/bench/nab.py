"""The files of the Numenta Anomaly Benchmark, run through our detector in lock-step and scored.

Scorer and files lie beside the checkout, in the shared folder, and are used where they are.
"""

from __future__ import annotations

import importlib.util
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nilo_schemas.errors import NiloError
from nilo_stream_processors.engine.anomaly import THRESHOLD, Detectors
from nilo_stream_processors.engine.arrays import Floats

# Most of the files are of windows of this length; one configuration serves them all.
STEP = 300_000_000
STRETCH = 250
PROFILES = {"standard": "standard", "low false positive": "reward_low_FP_rate"}


class NoSharedFolderError(NiloError):
    """The scorer and the files are not there."""


@dataclass(frozen=True)
class Nab:
    """The scorer, and the series by `<category>/<file>`."""

    scorer: Any
    corpus: Mapping[str, Any]

    @property
    def points(self) -> int:
        """Of all files together."""
        return sum(len(series.v) for series in self.corpus.values())


@dataclass(frozen=True)
class Scored:
    """Scores by file, of one pass over all files.

    Attributes:
        scores: with the cool-down after an alarm, as they are in production.
        uncooled: 1 wherever the threshold would be reached without it.
        seconds: CPU seconds of each `STRETCH` of windows, in order.
    """

    scores: dict[str, Floats]
    uncooled: dict[str, Floats]
    seconds: list[float]


def load() -> Nab:
    """The scorer and the files; raises NoSharedFolderError."""
    root = Path(__file__).parents[2]
    for folder in root.parents:
        script = folder / "shared" / "anomaly" / "nab_score.py"
        if script.is_file():
            scorer = _module(script)
            return Nab(scorer, scorer.load_corpus(str(folder / "shared" / "data" / "nab")))
    raise NoSharedFolderError(
        f"no shared/anomaly/nab_score.py in any folder above {root}: "
        "put the shared folder beside the checkout"
    )


def _module(script: Path) -> Any:
    spec = importlib.util.spec_from_file_location("nab_score", script)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Its dataclasses look their module up by name.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def run(nab: Nab, copies: int = 1) -> Scored:
    """One pass over all files, the next point of each at a time.

    Args:
        copies: of each file; a worker seldom has as few series as there are files.
    """
    series = sorted(list(nab.corpus.values()) * copies, key=lambda one: -len(one.v))
    lengths = np.array([len(one.v) for one in series])
    shape = int(lengths[0]), len(series)
    times, values = np.zeros(shape, np.int64), np.zeros(shape)
    for column, one in enumerate(series):
        times[: len(one.t), column] = np.round(one.t * 1e6)
        values[: len(one.v), column] = one.v
    live = (lengths > np.arange(shape[0])[:, None]).sum(axis=1).tolist()
    scores, uncooled = np.zeros(shape), np.zeros(shape, np.int64)
    detectors, slots = Detectors(STEP), np.arange(len(series))
    clock = [time.process_time()]
    for row, count in enumerate(live):
        judged = detectors.take(slots[:count], times[row, :count], values[row, :count])
        scores[row, :count] = judged.score
        uncooled[row, :count] = judged.shape
        if (row + 1) % STRETCH == 0 or row + 1 == len(live):
            clock.append(time.process_time())
    # Whatever is surprising has a shape.
    found, bare = (
        {one.name: table[: len(one.v), column] for column, one in enumerate(series)}
        for table in (scores, (uncooled > 0).astype(np.float64))
    )
    return Scored(found, bare, np.diff(clock).tolist())


def score(nab: Nab, scores: Mapping[str, Floats], profile: str) -> float:
    """The score of a profile at our threshold, from 0 (nothing said) to 100."""
    found = nab.scorer.score_corpus(nab.corpus, scores, PROFILES[profile], THRESHOLD)
    return float(found["score"])


def tallies(nab: Nab, scored: Scored) -> dict[str, tuple[int, int, int]]:
    """By category: windows found, windows, false alarms."""
    counted = nab.scorer.counts(nab.corpus, scored.scores, THRESHOLD)
    return {name: (found, windows, false) for name, (found, windows, false, _) in counted.items()}
