"""What `nilo tail metrics.partials` shows: the partials of a frame, and the marks behind them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from nilo_schemas.catalogue import Catalogue
from nilo_schemas.errors import DecodeError, Reason

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = 1_000_000


@dataclass(frozen=True)
class Frame:
    """A message of `metrics.partials` as JSON values.

    Sums, least and largest values are whole numbers, in steps of the metric's `value_scale`.
    """

    partials: list[dict[str, Any]]
    marks: list[dict[str, Any]]


def read_frame(value: bytes | None, catalogue: Catalogue) -> Frame:
    """The frame that a message holds; the catalogue knows the names of the dimensions.

    Raises:
        DecodeError: it holds none.
    """
    # The engine's libraries take a while to load, and only this topic needs them.
    from nilo_stream_processors.engine.partials import SCHEMA  # noqa: PLC0415
    from nilo_stream_processors.frames import from_frame  # noqa: PLC0415

    if not value:
        raise DecodeError(Reason.EMPTY, "the message has no value")
    try:
        batch, header = from_frame(value, SCHEMA)
        return Frame(
            [_partial(row, catalogue) for row in batch.to_pylist()],
            [_mark(*mark) for mark in header["marks"]],
        )
    except Exception as error:
        # Of bytes that are no frame, Arrow, JSON and the dates of Python say all kinds of errors.
        raise DecodeError(Reason.CORRUPT, f"{type(error).__name__}: {error}") from error


def _partial(row: dict[str, Any], catalogue: Catalogue) -> dict[str, Any]:
    kind = {"gap": row["gap"] / _SECOND} if row["gap"] else {"pane": row["pane"] / _SECOND}
    span = {"start": _time(row["start"]), "end": _time(row["end"])}
    # Without events there is no first offset.
    offsets = ("first_offset", "last_offset") if row["count"] else ()
    source = {name: row[name] for name in ("topic", "partition", *offsets)}
    found = {"metric": row["metric"], "dimensions": _labels(row, catalogue), **span, **kind}
    found |= {"source": source, "count": row["count"], "errors": row["errors"]}
    if row["largest"] >= row["least"]:
        parts = row["sum_top"], row["sum_high"], row["sum_low"]
        found["sum"] = parts[0] * 2**64 + parts[1] * 2**32 + parts[2]
        found |= {name: row[name] for name in ("least", "largest", "zero", "negative")}
    for name in ("buckets", "registers"):
        pairs = zip(row[name], row[f"{name}_counts"], strict=True)
        found |= {name: dict(pairs)} if row[name] else {}
    return found


def _labels(row: dict[str, Any], catalogue: Catalogue) -> dict[str, str]:
    """The labels by dimension, or by number when the catalogue does not know the metric so."""
    from nilo_stream_processors.engine.series import SEPARATOR  # noqa: PLC0415  as in read_frame

    metric = catalogue.metrics.get(row["metric"])
    names = metric.dimensions if metric else []
    labels = row["series"].split(SEPARATOR) if names or row["series"] else []
    if len(names) != len(labels):
        names = [str(number) for number in range(len(labels))]
    return dict(zip(names, labels, strict=True))


def _mark(topic: str, partition: int, *mark: Any) -> dict[str, Any]:
    from nilo_stream_processors.engine.merge import Mark  # noqa: PLC0415  as in read_frame

    told = Mark(*mark)
    source = {"topic": topic, "partition": partition, "last_offset": told.last_offset}
    silent = {"silent": told.silent / _SECOND} if told.silent else {}
    return {"source": source, "watermark": _time(told.watermark), "idle": told.idle, **silent}


def _time(microseconds: int) -> str:
    return (_EPOCH + timedelta(microseconds=microseconds)).isoformat()


def frame_lines(frame: Frame) -> Iterator[str]:
    """A line for each partial and each mark."""
    for partial in frame.partials:
        yield _partial_line(partial)
    for mark in frame.marks:
        silent = f" for {mark['silent']:g} s" if "silent" in mark else ""
        idle = f"  idle{silent}" if mark["idle"] else ""
        told = f"watermark {mark['watermark']}" if mark["watermark"] != _NONE else "no events yet"
        yield f"{_place(mark['source'])}  {told}{idle}"


def _partial_line(partial: dict[str, Any]) -> str:
    start, end = (datetime.fromisoformat(partial[name]) for name in ("start", "end"))
    session = "gap" in partial
    closing = "]  session" if session else ")"
    labels = " ".join(f"{name}={label}" for name, label in partial["dimensions"].items())
    # A session without events was joined to an earlier one.
    withdrawn = session and not partial["count"]
    counted = "withdrawn" if withdrawn else f"count={partial['count']}"
    return (
        f"[{start:%H:%M:%S}, {end:%H:%M:%S}{closing}  {partial['metric']}  {labels}  {counted}"
        f"  from {_place(partial['source'])}"
    )


_NONE = _time(0)  # the watermark before the first event


def _place(source: dict[str, Any]) -> str:
    return f"{source['topic']}/{source['partition']}"
