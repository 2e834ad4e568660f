"""Daft as in its guide to images: download, decode_image, a class with a batch method, write_parquet.

https://docs.daft.ai/en/stable/modalities/images/
"""

from __future__ import annotations

import os
import sys
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.peers import shared

os.environ.setdefault("DO_NOT_TRACK", "true")
try:
    import daft
    from daft import DataType
    from daft.functions import decode_image, download, unnest
except ModuleNotFoundError:
    print("daft is not installed; run pip install -r benchmarks/requirements.txt", file=sys.stderr)
    sys.exit(2)

ANSWER = DataType.struct(
    {
        "class_id": DataType.int64(),
        "label": DataType.string(),
        "score": DataType.float32(),
        "top_k": DataType.list(DataType.string()),
        "top_k_scores": DataType.list(DataType.float32()),
        "embedding": DataType.list(DataType.float32()),
    }
)


@daft.cls(max_concurrency=1, use_process=False)
class Models:
    """Both models in one process. TensorFlow uses all cores."""

    def __init__(self, classifier: shared.Model, embedder: shared.Model) -> None:
        self._models = classifier, embedder
        self._classify = shared.load_model(classifier.folder)
        self._embed = shared.load_model(embedder.folder)

    @daft.method.batch(return_dtype=ANSWER, batch_size=shared.BATCH)
    def answer(self, images: Any) -> list[dict[str, Any]]:
        """Return the columns of the table for a batch of decoded images."""
        decoded = [Image.fromarray(np.asarray(image)) for image in images.to_pylist()]
        classifier, embedder = (np.stack([shared.fit(image, each.size) for image in decoded]) for each in self._models)
        labels = self._models[0].labels
        best = [shared.prediction(scores, labels) for scores in self._classify(classifier)]
        return [{**row, "embedding": vector.tolist()} for row, vector in zip(best, self._embed(embedder), strict=True)]


def main() -> None:
    """Run the query on this machine."""
    job = shared.job(__doc__)
    models: Any = Models(job.classifier, job.embedder)
    pictures = daft.from_pydict({"uri": list(job.pictures)})
    decoded = pictures.with_column("image", decode_image(download(pictures["uri"]), mode="RGB"))
    answers = decoded.select("uri", models.answer(decoded["image"]).alias("answer"))
    answers.select("uri", unnest(answers["answer"])).write_parquet(f"{job.output}/table")


if __name__ == "__main__":
    main()
