"""The rows of the tables as elements of a PCollection: named tuples with a schema of Beam.

Their fields are the columns of the tables in ``schemas``. Beam's transforms for SQL, Parquet and BigQuery take them as
they are. This module has no ``from __future__ import annotations``, because Beam reads the types when it is loaded,
and Beam makes a column of a schema from ``Optional`` and ``Sequence`` of ``typing`` only.
"""

from datetime import datetime
from typing import Any, NamedTuple, Optional, Sequence

import apache_beam as beam
import numpy as np

from transforms.inference.recipe import Recipe
from transforms.records import ClassScore, Failure, ImageRef


class PredictionRow(NamedTuple):
    """A row of the table of predictions.

    Attributes:
        uri: The URI of the image, or the key of its bytes.
        version: The version of the image. For bytes, their SHA-256.
        sha256: 64 hex digits over the bytes of the image.
        width: Width in pixels, after EXIF orientation.
        height: Height in pixels, after EXIF orientation.
        class_id: The index of the best class.
        wnid: The WordNet id of the best class. None for labels of your own.
        label: The name of the best class.
        score: The probability of the best class, 0..1.
        top_k: The best classes, best first.
        recipe: The name of the model, and 8 hex digits over everything that changes the numbers.
        run_id: The id of the run.
    """

    uri: str
    version: str
    sha256: str
    width: np.int32
    height: np.int32
    class_id: np.int32
    wnid: Optional[str]
    label: str
    score: np.float32
    top_k: Sequence[ClassScore]
    recipe: str
    run_id: str


class FullPredictionRow(NamedTuple):
    """A row of predictions with ``probabilities``, the probabilities of all classes by index. See ``PredictionRow``."""

    uri: str
    version: str
    sha256: str
    width: np.int32
    height: np.int32
    class_id: np.int32
    wnid: Optional[str]
    label: str
    score: np.float32
    top_k: Sequence[ClassScore]
    probabilities: Sequence[np.float32]
    recipe: str
    run_id: str


class EmbeddingRow(NamedTuple):
    """A row of the table of embeddings.

    Attributes:
        uri: The URI of the image, or the key of its bytes.
        version: The version of the image. For bytes, their SHA-256.
        sha256: 64 hex digits over the bytes of the image.
        embedding: The vector, with as many numbers as the model gives.
        recipe: The name of the model, and 8 hex digits over everything that changes the numbers.
        run_id: The id of the run.
    """

    uri: str
    version: str
    sha256: str
    embedding: Sequence[np.float32]
    recipe: str
    run_id: str


class FailureRow(NamedTuple):
    """A row of the table of failures.

    Attributes:
        uri: The URI of the image, or the key of its bytes.
        version: The version of the image, if it is known.
        stage: ``list``, ``fetch``, ``decode``, ``classify`` or ``embed``.
        error: The name of the error.
        message: One line of text.
        retryable: Whether another try may succeed.
        tables: The tables that lack the image for this reason, such as ``embeddings/model=efficientnet-b6-1a2b3c4d``.
        attempt: 1 for the first try.
        run_id: The id of the run.
        failed_at: The time in UTC, such as ``2026-11-20T01:02:03.456789+00:00``. It is text, because Beam cannot write
            times to Parquet.
    """

    uri: str
    version: Optional[str]
    stage: str
    error: str
    message: str
    retryable: bool
    tables: Sequence[str]
    attempt: np.int32
    run_id: str
    failed_at: str


KINDS = (ImageRef, ClassScore, PredictionRow, FullPredictionRow, EmbeddingRow, FailureRow)

for _kind in KINDS:
    beam.coders.registry.register_coder(_kind, beam.coders.RowCoder)


def kind_of(recipe: Recipe) -> Any:
    """Return the type of the rows of a recipe."""
    if recipe.spec.task == "embed":
        return EmbeddingRow
    return FullPredictionRow if recipe.probabilities else PredictionRow


def of_failure(failure: Failure, run_id: str, failed_at: datetime) -> FailureRow:
    """Return the row of a failure."""
    values = {name: getattr(failure, name) for name in FailureRow._fields if hasattr(failure, name)}
    return FailureRow(**values, run_id=run_id, failed_at=failed_at.isoformat(timespec="microseconds"))
