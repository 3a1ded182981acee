"""Columns of texts as Arrow has them: names, of which there are few, and labels in any number."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from nilo_stream_processors.engine.arrays import Texts, constant, is_constant

# Equal names are one text in a batch.
NAME = pa.dictionary(pa.int32(), pa.string())


def arrow_texts(texts: Texts, kind: pa.DataType) -> pa.Array:
    """Texts as an Arrow array of this type: NAME, or plain strings."""
    if kind == NAME and len(texts) and is_constant(texts):
        return one_name(texts[0], len(texts))
    # Of a list it takes half the time as of an array.
    plain = pa.array(texts.tolist(), pa.string())
    return plain.dictionary_encode() if kind == NAME else plain


def one_name(name: str, count: int) -> pa.DictionaryArray:
    """An Arrow array of the type NAME in which all rows have one name."""
    codes = pa.array(np.zeros(count, np.int32))
    return pa.DictionaryArray.from_arrays(codes, pa.array([name], pa.string()))


def texts_of(column: pa.Array) -> Texts:
    """The texts of an Arrow array; equal names are one object."""
    if not isinstance(column, pa.DictionaryArray):
        return np.asarray(column.to_numpy(zero_copy_only=False), np.object_)
    names = np.asarray(column.dictionary.to_numpy(zero_copy_only=False), np.object_)
    if len(names) == 1:
        found: Texts = constant(str(names[0]), len(column))
    else:
        found = names[column.indices.to_numpy(zero_copy_only=False)]
    return found
