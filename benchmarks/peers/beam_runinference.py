"""Apache Beam as in its documentation: one element for each image through RunInference, into WriteToParquet.

``TFModelHandlerNumpy`` loads Keras models only (apache/beam #30288), so a SavedModel needs a custom handler:
https://beam.apache.org/documentation/ml/about-ml/#use-custom-models.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
from apache_beam.ml.inference.base import KeyedModelHandler, ModelHandler, PredictionResult, RunInference
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from PIL import Image

from benchmarks.peers import shared

PREDICTIONS = pa.schema(
    [
        ("uri", pa.string()),
        ("class_id", pa.int32()),
        ("label", pa.string()),
        ("score", pa.float32()),
        ("top_k", pa.list_(pa.string())),
        ("top_k_scores", pa.list_(pa.float32())),
    ]
)
EMBEDDINGS = pa.schema([("uri", pa.string()), ("embedding", pa.list_(pa.float32()))])


class SavedModelHandler(ModelHandler[shared.Pixels, PredictionResult, Any]):
    """Runs a SavedModel on images of its input size."""

    def __init__(self, folder: str, **settings: Any) -> None:
        super().__init__(**settings)
        self._folder = folder

    def load_model(self) -> Any:
        return shared.load_model(self._folder)

    def run_inference(
        self, batch: Sequence[shared.Pixels], model: Any, inference_args: dict[str, Any] | None = None
    ) -> Iterable[PredictionResult]:
        del inference_args
        return map(PredictionResult, batch, model(np.stack(batch)))

    def get_num_bytes(self, batch: Sequence[shared.Pixels]) -> int:
        return sum(picture.nbytes for picture in batch)


def load_picture(uri: str, sizes: tuple[int, ...]) -> tuple[str, dict[int, shared.Pixels]]:
    """Decode a file once. Return its URI and the pixels for each model, by input size."""
    with beam.io.filesystems.FileSystems.open(uri) as file:
        image: Image.Image = Image.open(file)
        image.draft("RGB", (max(sizes) + 32, max(sizes) + 32))  # Pillow decodes large JPEGs at reduced size.
        image = image.convert("RGB")
    return uri, {size: shared.fit(image, size) for size in sizes}


def main() -> None:
    """Run both models as branches of one graph."""
    job = shared.job(__doc__)
    # DirectRunner uses FnApiRunner if it cannot download another engine. This skips the attempt.
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        pictures = (
            pipeline
            | "URIs" >> beam.Create(job.pictures)
            | "Spread" >> beam.Reshuffle()
            | "Load" >> beam.Map(load_picture, (job.classifier.size, job.embedder.size))
        )
        tables = (("predictions", job.classifier, PREDICTIONS), ("embeddings", job.embedder, EMBEDDINGS))
        for name, model, schema in tables:
            # Full batches. large_model is for machines whose worker processes cannot each hold a copy of the model.
            # Here there is one process, and large_model would send the pixels to another.
            handler = SavedModelHandler(
                model.folder, min_batch_size=shared.BATCH, max_batch_size=shared.BATCH, large_model=False
            )
            row = partial(_prediction, labels=model.labels) if model.labels else _embedding
            _ = (
                pictures
                | f"Pixels for {name}" >> beam.Map(_pixels, model.size)
                | f"Infer {name}" >> RunInference(KeyedModelHandler(handler))
                | f"Rows of {name}" >> beam.MapTuple(row)
                | f"Write {name}"
                >> beam.io.WriteToParquet(f"{job.output}/{name}/part", schema, file_name_suffix=".parquet")
            )


def _pixels(picture: tuple[str, dict[int, shared.Pixels]], size: int) -> tuple[str, shared.Pixels]:
    uri, pixels = picture
    return uri, pixels[size]


def _prediction(uri: str, result: PredictionResult, labels: tuple[str, ...]) -> dict[str, Any]:
    return {"uri": uri} | shared.prediction(result.inference, labels)


def _embedding(uri: str, result: PredictionResult) -> dict[str, Any]:
    return {"uri": uri, "embedding": result.inference.tolist()}


if __name__ == "__main__":
    main()
