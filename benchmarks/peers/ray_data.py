"""Ray Data as in its guide to batch inference: read_images, a map, an actor class in map_batches, write_parquet.

https://docs.ray.io/en/latest/data/batch_inference.html
"""

from __future__ import annotations

import os
import sys
import tempfile
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.peers import shared

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
try:
    import ray
except ModuleNotFoundError:
    print("ray is not installed; run pip install -r benchmarks/requirements.txt", file=sys.stderr)
    sys.exit(2)


class Models:
    """An actor that holds both models, so that pixels are sent once."""

    def __init__(self, classifier: shared.Model, embedder: shared.Model) -> None:
        self._labels = classifier.labels
        self._classify = shared.load_model(classifier.folder)
        self._embed = shared.load_model(embedder.folder)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Return the columns of the table for a batch of pixels for both models."""
        best = [shared.prediction(scores, self._labels) for scores in self._classify(batch["classifier"])]
        columns = {name: [row[name] for row in best] for name in best[0]}
        return {"uri": batch["path"], "embedding": self._embed(batch["embedder"]), **columns}


def prepare(row: dict[str, Any], classifier: int, embedder: int) -> dict[str, Any]:
    """Return the pixels for each model from a decoded image."""
    image = Image.fromarray(np.asarray(row["image"]))
    return {
        "path": row["path"],
        "classifier": shared.fit(image, classifier),
        "embedder": shared.fit(image, embedder),
    }


def main() -> None:
    """Run one actor whose TensorFlow uses all cores. Ray uses its other CPU slots to read and decode."""
    job = shared.job(__doc__)
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as scratch:
        ray.init(include_dashboard=False, log_to_driver=False, configure_logging=False, _temp_dir=scratch)
        ray.data.DataContext.get_current().enable_progress_bars = False
        pictures = ray.data.read_images(list(job.pictures), mode="RGB", include_paths=True)
        prepared = pictures.map(prepare, fn_kwargs={"classifier": job.classifier.size, "embedder": job.embedder.size})
        answers = prepared.map_batches(
            Models,
            batch_size=shared.BATCH,
            compute=ray.data.ActorPoolStrategy(size=1),
            num_cpus=1,
            fn_constructor_args=(job.classifier, job.embedder),
        )
        answers.write_parquet(f"{job.output}/table")
        ray.shutdown()


if __name__ == "__main__":
    main()
