"""Recorded traces as events, by the product's own mappings, decoded as a worker decodes them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import pyarrow as pa

from nilo_producers.errors import RowError
from nilo_producers.files import open_table
from nilo_producers.mapping import resolve
from nilo_producers.rows import RowReader
from nilo_schemas.batch import BatchDecoder
from nilo_schemas.codec import encode
from nilo_schemas.contracts import contract
from nilo_schemas.envelope import Event
from nilo_schemas.errors import NiloError
from nilo_schemas.families import family_of_type

CHUNK = 10_000  # events of one fetch
_SCHEMA_ID = 1
DATA = Path(__file__).parents[2].parent / "shared" / "data"


class NoTraceError(NiloError):
    """A recorded file is not there."""


@dataclass(frozen=True)
class Trace:
    """Files that are one stream.

    Args:
        files: below DATA.
        in_order: whether the files, one after the other, are in the order of their times. Else
            they are put into it: rows of one series after those of another are not how they came.
    """

    files: tuple[str, ...]
    in_order: bool = True

    def paths(self) -> list[Path]:
        """The files; raises NoTraceError when one is missing."""
        paths = [DATA / name for name in self.files]
        for path in paths:
            if not path.is_file():
                raise NoTraceError(
                    f"there is no {path}: the recorded traces are not part of the checkout; put "
                    "them into shared/data beside it"
                )
        return paths

    def family(self) -> type[Event]:
        """The family of its events."""
        return family_of_type(resolve(self.paths()[0], None, None).type)


TRACES = {
    "spy": Trace(("trading/spy_trade_ticks_20131007_11.parquet",)),
    "crypto": Trace(("trading/crypto_ohlcv_lean.parquet",), in_order=False),
    "azure": Trace(
        ("llm/azure_llm_2023_conv.parquet", "llm/azure_llm_2023_code.parquet"), in_order=False
    ),
    # Its rows lie in any order within their minute: no other minute is near.
    "web": Trace(("web/apache_access_201505.parquet",)),
}


def batches(trace: Trace) -> Iterator[pa.RecordBatch]:
    """The events of a trace in the order in which they came."""
    found = (batch for path in trace.paths() for batch in _decoded(path))
    if trace.in_order:
        yield from found
        return
    # Stable: rows of one time stay in the order of the file.
    table = pa.Table.from_batches(found)
    table = table.append_column("row", pa.array(range(len(table))))
    order = table.select(["time", "row"]).sort_by([("time", "ascending"), ("row", "ascending")])
    table = table.drop_columns(["row"])
    for start in range(0, len(table), CHUNK):
        rows = order["row"].slice(start, CHUNK).combine_chunks()
        yield table.take(rows).combine_chunks().to_batches()[0]


def _decoded(path: Path) -> Iterator[pa.RecordBatch]:
    """What a worker makes of the messages that `nilo play` would send."""
    reader = RowReader(open_table(path), resolve(path, None, None))
    schema = contract(reader.family)
    decoder = BatchDecoder(reader.family, lambda _: schema)
    events = reader.events(_stop)
    while chunk := [encode(event, _SCHEMA_ID) for event in islice(events, CHUNK)]:
        yield decoder.decode(chunk).rows


def _stop(error: RowError) -> None:
    raise error
