"""beamsight classifies and embeds images with EfficientNet on Apache Beam, and writes the results to Parquet.

Most people use the command ``beamsight``. In Python:

    >>> import beamsight
    >>> model = beamsight.load("models/b7")         # doctest: +SKIP
    >>> scores = model.predict(["a.jpg", "b.jpg"])  # doctest: +SKIP
    >>> scores.shape                                # doctest: +SKIP
    (2, 1000)

In a pipeline of your own:

    >>> with beam.Pipeline() as pipeline:  # doctest: +SKIP
    ...     images = pipeline | beam.Create(["gs://bucket/a.jpg"])
    ...     images | beamsight.EmbedImages("efficientnet-b6")

Importing this package imports nothing else: each name is loaded when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from beamsight.catalogs import Catalog, CatalogCounts
    from beamsight.embeddable import to_embeddable_item
    from beamsight.handler import ImageModelHandler
    from beamsight.images import ProcessedImages, ProcessImages
    from beamsight.inputs import decode
    from beamsight.predictor import Predictor, load
    from beamsight.reading import ListImages, ReadCatalog
    from beamsight.single_models import ClassifyImages, EmbedImages, ImageRows
    from transforms.records import ClassScore, ImageRef
    from transforms.tables.typed_rows import EmbeddingRow, FailureRow, FullPredictionRow, PredictionRow

    __version__: str

_MODULES = {
    "Catalog": "beamsight.catalogs",
    "CatalogCounts": "beamsight.catalogs",
    "ClassScore": "transforms.records",
    "ClassifyImages": "beamsight.single_models",
    "EmbedImages": "beamsight.single_models",
    "EmbeddingRow": "transforms.tables.typed_rows",
    "FailureRow": "transforms.tables.typed_rows",
    "FullPredictionRow": "transforms.tables.typed_rows",
    "ImageModelHandler": "beamsight.handler",
    "ImageRef": "transforms.records",
    "ImageRows": "beamsight.single_models",
    "ListImages": "beamsight.reading",
    "PredictionRow": "transforms.tables.typed_rows",
    "Predictor": "beamsight.predictor",
    "ProcessImages": "beamsight.images",
    "ProcessedImages": "beamsight.images",
    "ReadCatalog": "beamsight.reading",
    "decode": "beamsight.inputs",
    "load": "beamsight.predictor",
    "to_embeddable_item": "beamsight.embeddable",
}

__all__ = [
    "Catalog",
    "CatalogCounts",
    "ClassScore",
    "ClassifyImages",
    "EmbedImages",
    "EmbeddingRow",
    "FailureRow",
    "FullPredictionRow",
    "ImageModelHandler",
    "ImageRef",
    "ImageRows",
    "ListImages",
    "PredictionRow",
    "Predictor",
    "ProcessImages",
    "ProcessedImages",
    "ReadCatalog",
    "__version__",
    "decode",
    "load",
    "to_embeddable_item",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib import metadata

        return metadata.version("beamsight")
    if name in _MODULES:
        return getattr(importlib.import_module(_MODULES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
