"""The events of a stream, encoded.

A few thousand calls are encoded once; what differs from event to event is then laid into the
encoded bytes, which costs a few microseconds per event instead of thirty.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np

from nilo_schemas.codec import encode
from nilo_schemas.families import LlmEvent
from tests.bench.stream import Ints, Stream, micros, model_of

VARIANTS = 4093  # a prime, so that every series meets every variant
PROVIDERS = 5
# A trace has so many calls, a session so many.
TRACE, SESSION = 8, 40
_TIME, _PROVIDER, _MODEL = datetime(2026, 6, 1, tzinfo=UTC), "PROVIDER", "MODEL"
# Of as many letters as what takes their place.
_ID, _SESSION, _TRACE, _SPAN, _PARENT = "I" * 12, "S" * 12, "a" * 32, "b" * 16, "c" * 16
# https://prng.di.unimi.it/splitmix64.c, public domain: numbers into such as look random
_STEP, _MIX = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9)


def variants(*, full: bool = False) -> list[LlmEvent]:
    """The distinct calls; what differs from event to event is still to be laid in."""
    rng = np.random.default_rng(2)
    durations = rng.lognormal(-0.3, 0.6, VARIANTS)
    tokens = rng.integers(1, 4_000, (4, VARIANTS)).tolist()
    statuses = rng.choice(
        ["OK", "ERROR", "RETRIED", "FALLBACK"], VARIANTS, p=[0.9, 0.05, 0.03, 0.02]
    )
    return [
        LlmEvent(
            type="llm.call",
            time=_TIME,
            source="bench",
            provider=_PROVIDER,
            model=_MODEL,
            operation="chat",
            status=statuses[i],
            duration=timedelta(seconds=durations[i]),
            time_to_first_token=timedelta(seconds=durations[i] / 5),
            input_tokens=tokens[0][i],
            output_tokens=tokens[1][i],
            cached_input_tokens=tokens[2][i],
            reasoning_tokens=tokens[3][i],
            cost=Decimal(tokens[0][i] + 3 * tokens[1][i]).scaleb(-6),
            fallback_from="model-0" if statuses[i] == "FALLBACK" else None,
            **(_context(i) if full else {}),
        )
        for i in range(VARIANTS)
    ]


def _context(number: int) -> dict[str, Any]:
    """Whose call it was, and where it belongs."""
    return {
        "id": f"0199d3c2-5d5e-7ab1-9c1f-{_ID}",
        "subject": f"agent-{number % 500:03}",
        "session_id": f"0199d3c2-5d5e-7ab1-8d2e-{_SESSION}",
        "trace_id": _TRACE,
        "span_id": _SPAN,
        "parent_span_id": _PARENT,
        "attempt": 1,
        "endpoint": "/v1/chat/completions",
        "attributes": {"region": f"region-{number % 7}", "version": f"1.{number % 3}"},
    }


class Encoder:
    """Makes the message values of streams, all `full` or none."""

    def __init__(self, schema_id: int, *, full: bool = False) -> None:
        time, model = _varints(np.array([micros(_TIME)])), _optional(_PROVIDER) + _optional(_MODEL)
        marks = [time, model]
        if full:
            texts = (_SESSION, _TRACE, _SPAN, _PARENT)
            marks = [_ID.encode(), time, *(text.encode() for text in texts), model]
        cut = [_cut(encode(event, schema_id), marks) for event in variants(full=full)]
        self._parts = [np.array(parts, object) for parts in zip(*cut, strict=True)]
        self._full = full

    def values(self, stream: Stream, first: int, members: Ints) -> list[bytes]:
        """The values of the events from number `first` on that belong to these series."""
        index = np.arange(first, first + len(members), dtype=np.int64)
        return self._joined(index, stream.times(index), _named(stream.series)[members])

    def closing(self, stream: Stream) -> bytes:
        """An event long after the stream: with one in each partition, all its windows close."""
        late = stream.times(np.array([stream.events + 10 * stream.per_minute]))
        return self._joined(np.array([0]), late, _named(1))[0]

    def _joined(self, index: Ints, times: Ints, models: Any) -> list[bytes]:
        text = _varints(times)
        stamps = [text[at : at + 8] for at in range(0, len(text), 8)]
        laid = [stamps, models]
        if self._full:
            laid = [_numbered(index, 12), stamps, *_places(index), models]
        first, *rest = (part[index % VARIANTS] for part in self._parts)
        pairs = (column for pair in zip(laid, rest, strict=True) for column in pair)
        return [b"".join(row) for row in zip(first, *pairs, strict=True)]


def _cut(value: bytes, marks: Sequence[bytes]) -> list[bytes]:
    """The pieces between the marks, which come in this order."""
    pieces = []
    for mark in marks:
        piece, _, value = value.partition(mark)
        pieces.append(piece)
    return [*pieces, value]


def _places(index: Ints) -> list[list[bytes]]:
    """Session, trace, span and parent span of events; the first of a trace is the parent."""
    trace = index // TRACE
    spans, parents = _numbered(_mixed(index), 16), _numbered(_mixed(trace * TRACE), 16)
    halves = zip(_numbered(_mixed(~trace), 16), parents, strict=True)
    return [_numbered(index // SESSION, 12), [a + b for a, b in halves], spans, parents]


def _mixed(numbers: Ints) -> Any:
    mixed = (numbers.astype(np.uint64) + np.uint64(1)) * _STEP
    return (mixed ^ (mixed >> np.uint64(30))) * _MIX


def _numbered(numbers: Any, digits: int) -> list[bytes]:
    return [b"%0*x" % (digits, number) for number in numbers.tolist()]


def _named(series: int) -> Any:
    """Provider and model of each series, encoded."""
    encoded = [_optional(f"p{one % PROVIDERS}") + _optional(model_of(one)) for one in range(series)]
    return np.array(encoded, object)


def _optional(text: str) -> bytes:
    """A text in a union with null: the branch, the length (both zig-zag, one byte here), itself."""
    return bytes([2, 2 * len(text)]) + text.encode()


def _varints(values: Ints) -> bytes:
    """Avro longs; microseconds of our age take eight bytes each."""
    shifts = np.arange(8, dtype=np.int64) * 7
    septets = (2 * values[:, None] >> shifts) & 0x7F
    septets[:, :7] |= 0x80
    return septets.astype(np.uint8).tobytes()
