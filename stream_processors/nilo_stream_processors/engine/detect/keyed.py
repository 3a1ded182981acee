"""What a rule has learnt of each of its keys, as one JSON value each: for rules with few keys."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa

from nilo_stream_processors.engine.detect.verdicts import Stored


class Keyed:
    """A value by key; `changed` notes that one is other than at the last commit, or gone."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self._changed: set[str] = set()

    def changed(self, key: str) -> None:
        """The value of a key was set, changed or removed."""
        self._changed.add(key)

    def drop(self, key: str) -> None:
        """Forget a key."""
        del self.values[key]
        self.changed(key)

    def stored(self, *, all_of_it: bool) -> Stored:
        """The values that changed, or all; null for one that is gone."""
        keys = sorted(self.values if all_of_it else self._changed)
        self._changed.clear()
        if keys:
            told = [json.dumps(self.values.get(key)) for key in keys]
            yield pa.RecordBatch.from_pydict({"key": keys, "value": told})

    def restore(self, batch: pa.RecordBatch) -> None:
        """Put values back."""
        told = zip(batch["key"].to_pylist(), batch["value"].to_pylist(), strict=True)
        for key, text in told:
            value = json.loads(text)
            if value is None:
                self.values.pop(key, None)
            else:
                self.values[key] = value
