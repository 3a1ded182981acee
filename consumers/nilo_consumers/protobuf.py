"""Metrics in Prometheus' protobuf form, which alone carries native histograms.

Only what our own metrics need: counters, gauges and `Distribution`s. Source of the field numbers:
github.com/prometheus/client_model, io/prometheus/client/metrics.proto.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping

from prometheus_client import Metric
from prometheus_client.samples import Exemplar, NativeHistogram

from nilo_consumers.exposed import Distribution

CONTENT_TYPE = (
    "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
)
# The number of a type, and of the field of a Metric that holds its value.
_TYPES = {"counter": (0, 3), "gauge": (1, 2), "unknown": (3, 5), "histogram": (4, 7)}


def accepts(accept: str) -> bool:
    """Whether a scrape's Accept header asks for this form."""
    return CONTENT_TYPE.split(";", maxsplit=1)[0] in accept


def encoded(families: Iterable[Metric]) -> bytes:
    """The families, each with its length before it."""
    messages = [_family(part) for family in families for part in (family, *_without_native(family))]
    return b"".join(_varint(len(message)) + message for message in messages if message)


def _without_native(family: Metric) -> Iterator[Metric]:
    """The classic samples of series that have no native histogram.

    Prometheus reads no classic buckets of a histogram in this form, so they come by themselves.
    """
    series = family.series if isinstance(family, Distribution) else []
    plain: dict[str, Metric] = {}
    for one in series:
        for ending, labels, value in one.samples() if one.native is None else ():
            name = family.name + ending
            plain.setdefault(name, Metric(name, family.documentation, "unknown"))
            plain[name].add_sample(name, labels, value)
    yield from plain.values()


def _family(family: Metric) -> bytes:
    number, field = _TYPES[family.type]
    # prometheus_client names a counter without its ending.
    name = family.name + ("_total" if family.type == "counter" else "")
    metrics = [
        _part(4, _labels(labels) + _part(field, value)) for labels, value in _values(family, name)
    ]
    if not metrics:
        return b""
    head = _part(1, name.encode()) + _part(2, family.documentation.encode()) + _int(3, number)
    return head + b"".join(metrics)


def _values(family: Metric, name: str) -> list[tuple[Mapping[str, str], bytes]]:
    if isinstance(family, Distribution):
        return [(each.labels, _native(each.native)) for each in family.series if each.native]
    samples = [sample for sample in family.samples if sample.name == name]
    return [(each.labels, _double(1, each.value) + _exemplar(each.exemplar)) for each in samples]


def _exemplar(exemplar: Exemplar | None) -> bytes:
    if exemplar is None:
        return b""
    # Only counters carry one, in field 2; the time is a message of seconds and nanoseconds.
    nanoseconds = int(float(exemplar.timestamp or 0) * 1e9)
    time = _int(1, nanoseconds // 10**9) + _int(2, nanoseconds % 10**9)
    return _part(2, _labels(exemplar.labels) + _double(2, exemplar.value) + _part(3, time))


def _native(histogram: NativeHistogram) -> bytes:
    head = _int(1, int(histogram.count_value)) + _double(2, histogram.sum_value)
    head += _int(5, _zigzag(histogram.schema)) + _double(6, histogram.zero_threshold)
    head += _int(7, int(histogram.zero_count))
    spans = (
        _part(12, _int(1, _zigzag(offset)) + _int(2, length))
        for offset, length in histogram.pos_spans or []
    )
    deltas = (_int(13, _zigzag(delta)) for delta in histogram.pos_deltas or [])
    return head + b"".join(spans) + b"".join(deltas)


def _labels(labels: Mapping[str, str]) -> bytes:
    pairs = (_part(1, name.encode()) + _part(2, text.encode()) for name, text in labels.items())
    return b"".join(_part(1, pair) for pair in pairs)


# The wire format: developers.google.com/protocol-buffers, Encoding


def _part(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def _int(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _double(field: int, value: float) -> bytes:
    return _varint(field << 3 | 1) + struct.pack("<d", value)


def _zigzag(value: int) -> int:
    return value << 1 if value >= 0 else (-value << 1) - 1


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)
