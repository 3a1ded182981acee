"""What a replay has read and not taken in yet, as JSON and Arrow batches, and back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from nilo_schemas.errors import Reason
from nilo_stream_processors.engine import partials as arrow
from nilo_stream_processors.engine.merge import Mark, Source
from nilo_stream_processors.engine.partials import Partials
from nilo_stream_processors.engine.pieces import Piece, Taken
from nilo_stream_processors.replay.folder import Named
from nilo_stream_processors.replay.reading import Kept, Read

REBUILD, _SOURCE, _READ = "rebuild|", "source|", "read|"


def stored(
    kept: Mapping[Source, Kept], waiting: Iterable[Read]
) -> tuple[dict[str, Any], Iterator[Named]]:
    """The states of the sources, and what was read of them beyond what was taken in."""
    sources, reads = list(kept.values()), list(waiting)
    header = {"sources": [one.header for one in sources], "reads": [_told(one) for one in reads]}

    def batches() -> Iterator[Named]:
        for number, one in enumerate(sources):
            yield f"{_SOURCE}{number}", one.cells
        for number, read in enumerate(reads):
            if read.piece is not None:
                yield f"{_READ}{number}", arrow.to_arrow(read.piece.changed)

    return header, batches()


def restored(
    header: Mapping[str, Any], batches: Iterable[Named]
) -> tuple[dict[Source, Kept], list[Read]]:
    """What `stored` has told of; `batches` may have others among them."""
    cells: dict[str, list[Partials]] = {}
    for name, batch in batches:
        if name.startswith((_SOURCE, _READ)):
            cells.setdefault(name, []).append(arrow.from_arrow(batch))
    kept = {}
    for number, told in enumerate(header["sources"]):
        mine = arrow.to_arrow(Partials.joined(cells.get(f"{_SOURCE}{number}", [])))
        kept[_source(told["source"])] = Kept(told, mine)
    reads = [
        _read(told, Partials.joined(cells.get(f"{_READ}{number}", [])))
        for number, told in enumerate(header["reads"])
    ]
    return kept, reads


def _told(read: Read) -> dict[str, Any]:
    piece = read.piece
    return {
        "source": read.source,
        "next": read.next,
        "unread": read.unread,
        "ended": read.ended,
        "piece": piece and [piece.waits, piece.mark, piece.taken],
    }


def _read(told: Mapping[str, Any], changed: Partials) -> Read:
    source, piece = _source(told["source"]), None
    if told["piece"] is not None:
        waits, mark, taken = told["piece"]
        piece = Piece(source, waits, changed, Mark(*mark), Taken(*taken))
    unread = Counter({Reason(name): count for name, count in told["unread"].items()})
    return Read(source, told["next"], unread, piece, told["ended"])


def _source(told: list[Any]) -> Source:
    topic, number = told
    return topic, number
