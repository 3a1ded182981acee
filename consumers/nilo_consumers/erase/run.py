"""One erasure over all places, one count of them, and `verify`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import uuid4

from nilo_consumers.erase import archive, hot, kafka, lake, sqlite
from nilo_consumers.erase.receipt import KAFKA, Line, Receipt, with_behind
from nilo_consumers.lake import literal
from nilo_consumers.tiers.run import alone
from nilo_schemas.errors import NiloError
from nilo_schemas.settings import Settings

Tell = Callable[[str], None]
Work = Callable[[], Iterable[Line]]


@dataclass(frozen=True)
class Scope:
    """What is done beside the stores.

    Args:
        scan: read the topics in Kafka and count.
        tell: progress.
    """

    scan: bool = True
    tell: Tell = lambda _: None


def erase(settings: Settings, subject: str, scope: Scope | None = None) -> Receipt:
    """Erase a subject everywhere; a place that fails is told, and the others are done.

    Running it again does what is left, also after a run that was killed at any moment.

    Args:
        settings: where the places are.
        subject: the `subject` of events; exactly this text.
        scope: see there.

    Raises:
        StoreUnavailableError: another run, or `nilo tiers run`, is at work.
        OSError: the archive's folder is not ours to write to.
    """
    scope, erasure, began = scope or Scope(), uuid4(), datetime.now(UTC)
    works: dict[str, Work] = {
        hot.PLACE: lambda: _hot(settings, hot.erase(settings, subject, erasure)),
        sqlite.PLACE: lambda: sqlite.erase(settings, subject, erasure),
        # In this order: what a killed run of the tiers has left in the archive without a line is
        # known by the rows of the lake, or by the note of their erasure.
        lake.PLACE: lambda: lake.erase(settings, subject, erasure),
        archive.PLACE: lambda: archive.erase(settings, subject),
    }
    with alone(settings):
        lines = list(_done(subject, scope, works))
    return _receipt(str(erasure), began, _with_kafka(settings, subject, scope, lines, erased=True))


def count(settings: Settings, subject: str, scope: Scope | None = None) -> Receipt:
    """What every place holds of a subject, each looked through; nothing is changed.

    Arguments as in `erase`. A place that fails is told.
    """
    scope, began = scope or Scope(), datetime.now(UTC)
    works: dict[str, Work] = {
        hot.PLACE: lambda: _hot(settings, hot.count(settings, subject)),
        sqlite.PLACE: lambda: sqlite.count(settings, subject),
        lake.PLACE: lambda: lake.count(settings, subject),
        archive.PLACE: lambda: archive.count(settings, subject),
    }
    lines = list(_done(subject, scope, works))
    return _receipt(None, began, _with_kafka(settings, subject, scope, lines, erased=False))


def _hot(settings: Settings, work: Iterable[Line]) -> Iterable[Line]:
    if settings.database_url is None:
        return [Line(hot.PLACE, note="no database_url is set: not looked at")]
    return work


def _with_kafka(
    settings: Settings, subject: str, scope: Scope, lines: list[Line], *, erased: bool
) -> list[Line]:
    """The lines, how far their sinks are behind, and those of Kafka."""
    ends: kafka.Ends = {}

    def work() -> Iterator[Line]:
        ends.update(kafka.ends(settings))
        yield from kafka.lines(
            settings, subject, scan=scope.scan, tombstones=erased, tell=scope.tell
        )

    found = list(_done(subject, scope, {KAFKA: work}))
    return [*with_behind(lines, ends), *found]


def _done(subject: str, scope: Scope, works: Mapping[str, Work]) -> Iterator[Line]:
    """The lines of one place after the other; of one that fails those until then, and why."""
    for place, work in works.items():
        scope.tell(place)
        try:
            yield from work()
        except (NiloError, OSError) as error:
            # A store may quote the query: the receipt is to name nobody.
            told = str(error).replace(literal(subject), "…")
            yield Line(place, rows=None, left=" ".join(told.split()))


def _receipt(erasure: str | None, began: datetime, lines: list[Line]) -> Receipt:
    return Receipt(erasure, began, datetime.now(UTC), lines)
