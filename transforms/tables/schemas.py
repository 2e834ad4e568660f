"""The schemas of the tables, and the conversion of columns to Arrow.

Vectors and their elements are NOT NULL: a null in a fixed_size_list can be written but not read back (apache/arrow
#35692). Images that failed are in the failures table only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from transforms.records import Failure, ShardCount

Column: TypeAlias = "Sequence[object] | npt.NDArray[np.float32]"

_IDENTITY = (
    pa.field("uri", pa.string(), nullable=False),
    pa.field("version", pa.string(), nullable=False),
    pa.field("sha256", pa.string(), nullable=False),
)

_ORIGIN = (
    pa.field("recipe", pa.string(), nullable=False),  # the folder's name, for readers that drop partitions
    pa.field("run_id", pa.string(), nullable=False),
)

_CLASS = (
    pa.field("class_id", pa.int32(), nullable=False),
    pa.field("wnid", pa.string()),
    pa.field("label", pa.string(), nullable=False),
    pa.field("score", pa.float32(), nullable=False),
)


def vector(width: int) -> pa.DataType:
    """Return the type of a vector with ``width`` floats, none of them null."""
    return pa.list_(pa.field("element", pa.float32(), nullable=False), width)


def predictions(classes: int, *, probabilities: bool) -> pa.Schema:
    """Return the schema of predictions: the best class, the k best classes and, on request, all probabilities."""
    fields = [
        *_IDENTITY,
        pa.field("width", pa.int32(), nullable=False),
        pa.field("height", pa.int32(), nullable=False),
        *_CLASS,
        pa.field("top_k", pa.list_(pa.field("element", pa.struct(_CLASS), nullable=False)), nullable=False),
        *([pa.field("probabilities", vector(classes), nullable=False)] if probabilities else []),
        *_ORIGIN,
    ]
    return pa.schema(fields)


def embeddings(width: int) -> pa.Schema:
    """Return the schema of embeddings: one vector per image."""
    return pa.schema([*_IDENTITY, pa.field("embedding", vector(width), nullable=False), *_ORIGIN])


FAILURES = pa.schema(
    [
        pa.field("uri", pa.string(), nullable=False),
        pa.field("version", pa.string()),
        pa.field("stage", pa.string(), nullable=False),
        pa.field("error", pa.string(), nullable=False),
        pa.field("message", pa.string(), nullable=False),
        pa.field("retryable", pa.bool_(), nullable=False),
        pa.field("tables", pa.list_(pa.field("element", pa.string(), nullable=False)), nullable=False),
        pa.field("attempt", pa.int32(), nullable=False),
        pa.field("run_id", pa.string(), nullable=False),
        pa.field("failed_at", pa.timestamp("us", tz="UTC"), nullable=False),
    ]
)


SHARDS = pa.schema(
    [
        pa.field("uri", pa.string(), nullable=False),
        pa.field("version", pa.string(), nullable=False),
        pa.field("images", pa.int64(), nullable=False),
        pa.field("failed", pa.int64(), nullable=False),
        pa.field("others", pa.int64(), nullable=False),
        pa.field("broken", pa.bool_(), nullable=False),
        pa.field("retryable", pa.bool_(), nullable=False),
        pa.field("attempt", pa.int32(), nullable=False),
        *_ORIGIN,
    ]
)


def shards_to_arrow(shards: Sequence[ShardCount], recipe: str, run_id: str) -> pa.Table:
    """Return the rows of the shards that were read to their ends. ``recipe`` is the name of the table's folder."""
    rows = [
        {
            "uri": shard.work.ref.uri,
            "version": shard.work.ref.version,
            "attempt": shard.work.attempt,
            "recipe": recipe,
            "run_id": run_id,
            **{name: getattr(shard, name) for name in ("images", "failed", "others", "broken", "retryable")},
        }
        for shard in sorted(shards, key=lambda shard: shard.work.ref.uri)
    ]
    return pa.Table.from_pylist(rows, schema=SHARDS)


def to_arrow(columns: Mapping[str, Column], schema: pa.Schema) -> pa.Table:
    """Return a table of the columns. float32[N, D] becomes a fixed-size list without a copy of the numbers."""
    return pa.Table.from_arrays([_array(columns[field.name], field.type) for field in schema], schema=schema)


def _array(values: Column, kind: pa.DataType) -> pa.Array:
    if pa.types.is_fixed_size_list(kind):
        matrix = np.ascontiguousarray(values, dtype=np.float32)
        return pa.FixedSizeListArray.from_arrays(pa.array(matrix.reshape(-1)), type=kind)
    return pa.array(values, type=kind)


def failures_to_arrow(failures: Sequence[Failure], run_id: str, failed_at: datetime) -> pa.Table:
    """Return the rows of the failures table, with ``run_id`` and ``failed_at`` added."""
    columns: dict[str, Column] = {
        name: [getattr(failure, name) for failure in failures]
        for name in FAILURES.names
        if name not in ("run_id", "failed_at")
    }
    columns["run_id"] = [run_id] * len(failures)
    columns["failed_at"] = [failed_at] * len(failures)
    return to_arrow(columns, FAILURES)
