"""The servers' files: fetched from Maven Central by jgo, checked against `servers.lock`.

They are shared by all data folders of a user, under `~/.cache/nilometer`. A file appears there
under its final name only when it is complete and its SHA-256 is the locked one, so a download may
be interrupted anywhere and started again.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import tarfile
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory

from nilo_deploy.errors import DownloadError
from nilo_deploy.state import locked

Say = Callable[[str], None]
_ATTEMPTS = 3
_THREADS = 8
_REGISTRY_ARTIFACT = "apicurio-registry-app"


@dataclass(frozen=True)
class Artifact:
    """One line of the lock: a file of a Maven repository."""

    sha256: str
    size: int  # bytes
    coordinate: str  # group:artifact:version[:classifier:type]

    @property
    def parts(self) -> tuple[str, str, str, str, str]:
        """Group, artifact, version, classifier and type."""
        group, name, version, *rest = self.coordinate.split(":")
        classifier, kind = rest or ("", "jar")
        return group, name, version, classifier, kind

    @property
    def filename(self) -> str:
        """The file's name in a Maven repository."""
        _, name, version, classifier, kind = self.parts
        return f"{name}-{version}{'-' if classifier else ''}{classifier}.{kind}"


@dataclass
class _Progress:
    """Adds up the bytes of all threads and tells every twentieth part of the whole."""

    total: int
    say: Say
    done: int = 0
    told: int = -1
    cancelled: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, count: int, name: str) -> None:
        if self.cancelled.is_set():
            raise DownloadError("download cancelled")
        with self.lock:
            self.done += count
            step = 20 * self.done // self.total
            if step > self.told:
                self.told = step
                self.say(
                    f"downloading servers: {self.done / 1e6:.0f} of {self.total / 1e6:.0f} MB "
                    f"({name})"
                )

    @contextmanager
    def file(self, name: str, _size: int) -> Iterator[Callable[[int], None]]:
        """The shape that jgo wants: called for each file, gives a function of the bytes read."""
        yield lambda count: self.add(count, name)


def cache() -> Path:
    """The folder of the servers' files."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "nilometer"


def lock() -> dict[str, Artifact]:
    """The locked files by file name, in the order of the lock."""
    lines = files("nilo_deploy").joinpath("servers.lock").read_text().splitlines()
    fields = [line.split() for line in lines if line and not line.startswith("#")]
    artifacts = [Artifact(sha256, int(size), name) for sha256, size, name in fields]
    return {artifact.filename: artifact for artifact in artifacts}


def version_of(name: str) -> str:
    """The locked version of the artifact with this name."""
    return next(a.parts[2] for a in lock().values() if a.parts[1] == name)


def kafka_classpath() -> list[Path]:
    """Kafka's jars (present after `fetch`)."""
    return [cache() / "kafka" / name for name in lock() if name.endswith(".jar")]


def registry_jar() -> Path:
    """Apicurio's runnable jar (present after `fetch`)."""
    version = version_of(_REGISTRY_ARTIFACT)
    return cache() / f"registry-{version}" / f"{_REGISTRY_ARTIFACT}-{version}-runner.jar"


def fetch(*, kafka: bool, registry: bool, say: Say) -> None:
    """Make the files of the named servers present, downloading what is missing.

    Args:
        kafka: Kafka's jars are wanted.
        registry: the registry is wanted.
        say: told the progress, one line each time.

    Raises:
        DownloadError: no network, an unreachable proxy, or files other than the locked ones.
    """
    if not _missing(kafka, registry):
        return
    with locked(cache() / ".lock", lambda: say("another download runs; waiting for it")):
        _remove_leftovers()
        missing = _missing(kafka, registry)
        with TemporaryDirectory(prefix="staging-", dir=cache()) as staging:
            _fetch_all(missing, Path(staging), say)


def _remove_leftovers() -> None:
    for folder in cache().glob("staging-*"):
        shutil.rmtree(folder, ignore_errors=True)


def _missing(kafka: bool, registry: bool) -> list[Artifact]:
    return [artifact for artifact in lock().values() if _wanted(artifact, kafka, registry)]


def _wanted(artifact: Artifact, kafka: bool, registry: bool) -> bool:
    if artifact.parts[1] == _REGISTRY_ARTIFACT:
        return registry and not registry_jar().is_file()
    path = cache() / "kafka" / artifact.filename
    return kafka and not (path.is_file() and path.stat().st_size == artifact.size)


def _fetch_all(artifacts: Sequence[Artifact], staging: Path, say: Say) -> None:
    progress = _Progress(sum(artifact.size for artifact in artifacts), say)
    pool = ThreadPoolExecutor(_THREADS)
    try:
        jobs = [pool.submit(_fetch_one, each, staging, progress) for each in artifacts]
        for job in as_completed(jobs):
            job.result()
    finally:
        progress.cancelled.set()
        pool.shutdown(cancel_futures=True)


def _fetch_one(artifact: Artifact, staging: Path, progress: _Progress) -> None:
    path = _download(artifact, staging, progress)
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != artifact.sha256:
        raise DownloadError(
            f"{artifact.filename} came with SHA-256 {found}, locked is {artifact.sha256}: "
            "is a proxy changing downloads? Try again, or from another network"
        )
    if artifact.parts[1] == _REGISTRY_ARTIFACT:
        _unpack(path, staging / "unpacked")
        return
    target = cache() / "kafka" / artifact.filename
    target.parent.mkdir(exist_ok=True)
    path.replace(target)


def _download(artifact: Artifact, staging: Path, progress: _Progress) -> Path:
    from jgo.maven import MavenContext, PythonResolver  # noqa: PLC0415  slow, rarely needed
    from requests import RequestException  # noqa: PLC0415  likewise; jgo is made on it

    logging.getLogger("jgo").addHandler(logging.NullHandler())  # else warnings go to stderr
    group, name, version, classifier, kind = artifact.parts
    failure: Exception | None = None
    for attempt in range(_ATTEMPTS):
        folder = staging / f"{artifact.sha256}-{attempt}"
        context = MavenContext(
            resolver=PythonResolver(progress_callback=progress.file), repo_cache=folder
        )
        project = context.project(group, name).at_version(version)
        try:
            return project.artifact(classifier=classifier, packaging=kind).resolve()
        except (RequestException, RuntimeError) as error:
            failure = error
        except OSError as error:
            raise DownloadError(f"cannot write under {cache()}: {error}") from error
    raise DownloadError(
        f"{artifact.filename} could not be downloaded from Maven Central "
        f"({_cause(failure)}): check the network, or set HTTPS_PROXY, and run it again"
    ) from failure


def _cause(error: BaseException | None) -> str:
    """The innermost reason, which is the one that says something."""
    while error is not None and (inner := error.__context__ or error.__cause__) is not None:
        error = inner
    return str(error).split(": ", 1)[-1][:200] or type(error).__name__


def _unpack(archive: Path, folder: Path) -> None:
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    archive.unlink()
    target = registry_jar().parent
    if target.exists():  # damaged: its jar is missing
        shutil.rmtree(target)
    folder.replace(target)
