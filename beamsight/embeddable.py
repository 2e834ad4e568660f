"""Rows of embeddings -> the items that the vector databases of Apache Beam take."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from typing import Any

import numpy as np
from apache_beam.ml.rag.types import Content, EmbeddableItem, Embedding

from transforms.errors import UsageError

_METADATA = ("uri", "version", "sha256", "recipe")


def to_embeddable_item(row: Any) -> EmbeddableItem:
    """Convert a row of embeddings to the item that the sinks of ``apache_beam.ml.rag.ingestion`` write.

    These are the sinks for BigQuery, AlloyDB, Cloud SQL, Postgres, MySQL, Spanner, Milvus and Qdrant, all used as
    ``VectorDatabaseWriteTransform(config)``.

    Args:
        row: A row of the table ``embeddings`` or of ``EmbedImages``: a dict, a ``beam.Row`` or a NamedTuple with the
            columns uri, version, sha256, recipe and embedding. Other columns are ignored.

    Returns:
        An item with

        - ``id``: a UUID made from uri, version and recipe, so that a retry or a second run writes the same id;
        - ``content``: the URI as an image, which sinks with a content column write;
        - ``metadata``: uri, version, sha256 and recipe, as strings. Add your own before the sink;
        - ``embedding``: the vector as a list of float.

    Raises:
        UsageError: A column is missing, or the embedding is not a vector of finite numbers.

    Example:
        >>> import beamsight
        >>> row = {
        ...     "uri": "gs://bucket/cat.jpg",
        ...     "version": "1732579200000000",
        ...     "sha256": "0" * 64,
        ...     "recipe": "efficientnet-b6-1a2b3c4d",
        ...     "embedding": [0.5, 0.25],
        ... }
        >>> item = beamsight.to_embeddable_item(row)
        >>> item.id
        'eced3682-181a-5afe-91be-46b1ad433bbd'
        >>> item.content_string
        'gs://bucket/cat.jpg'
        >>> item.dense_embedding
        [0.5, 0.25]
    """
    metadata = {name: str(_column(row, name)) for name in _METADATA}
    vector = np.asarray(_column(row, "embedding"))
    if vector.ndim != 1 or not vector.size or vector.dtype.kind not in "fiu" or not np.isfinite(vector).all():
        kind = f"{vector.dtype}{list(vector.shape)}"
        raise UsageError(f"the embedding of {metadata['uri']} is {kind} and not a vector of finite numbers")
    key = json.dumps([metadata["uri"], metadata["version"], metadata["recipe"]])
    return EmbeddableItem(
        content=Content(image=metadata["uri"]),
        id=str(uuid.uuid5(uuid.NAMESPACE_URL, key)),
        metadata=metadata,
        embedding=Embedding(dense_embedding=vector.astype(float).tolist()),
    )


def _column(row: Any, name: str) -> Any:
    value = row.get(name) if isinstance(row, Mapping) else getattr(row, name, None)
    if value is None:
        raise UsageError(
            f"a row has no {name!r}; pass rows of embeddings, with {', '.join(_METADATA)} and embedding, and not "
            f"{row!r:.200}"
        )
    return value
