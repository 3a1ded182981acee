"""The range of a replay once more, by another catalogue or another version of the code."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nilo_cli.replays import environments
from nilo_cli.replays.running import home_of, make_from, new_id, run
from nilo_schemas.catalogue_files import load_catalogue
from nilo_schemas.settings import Settings
from nilo_stream_processors.replay.folder import Folder


@dataclass(frozen=True)
class Staging:
    """What is to be tried.

    Args:
        catalogue: a folder of metrics and rules; None: those in force.
        code: a wheel or a checkout; None: the code that runs.
    """

    catalogue: Path | None
    code: Path | None


def again(settings: Settings, like: Folder, staging: Staging, workers: int | None) -> Folder:
    """Run the events of a replay through what is to be tried; files alone.

    Raises:
        NiloError: the other version cannot be installed, or fails.
        CatalogueError: the catalogue is refused.
    """
    out = home_of(settings) / new_id()
    if staging.code is None:
        catalogue = load_catalogue(staging.catalogue or settings.catalogue)
        folder = make_from(settings, like.manifest().range, catalogue, out=out)
        run(settings, folder, speed=None, workers=workers)
        return folder
    python = environments.python_of(settings.home / "environments", staging.code)
    words = ["replay", "run", "--like", str(like.path), "--out", str(out)]
    if staging.catalogue is not None:
        words += ["--catalogue", str(staging.catalogue.resolve())]
    if workers is not None:
        words += ["--workers", str(workers)]
    environments.run_in(python, words, settings.environment())
    return Folder(out)
