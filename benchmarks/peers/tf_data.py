"""TensorFlow only: tf.data decodes in parallel and prefetches, a loop runs both models, pyarrow writes one file.

The settings are those of https://www.tensorflow.org/guide/data_performance.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow as tf

from benchmarks.peers import shared


def fit(image: Any, size: int) -> Any:
    """Do the same as ``shared.fit`` with TensorFlow operations."""
    sides = tf.cast(tf.shape(image)[:2], tf.float32)
    scale = (size + 32) / tf.reduce_min(sides)
    # tf.image.resize(antialias=True) uses this operation. Called directly, it accepts a box between pixels.
    fitted = tf.raw_ops.ScaleAndTranslate(
        images=image[tf.newaxis],
        size=(size, size),
        scale=tf.stack([scale, scale]),
        translation=(size - sides * scale) / 2,
        kernel_type="keyscubic",
        antialias=True,
    )
    return tf.saturate_cast(tf.round(fitted[0]), tf.uint8)


def main() -> None:
    """Run the job in one process and write one table."""
    job = shared.job(__doc__)

    def load_picture(uri: Any) -> tuple[Any, Any, Any]:
        image = tf.io.decode_jpeg(tf.io.read_file(uri), channels=3)
        return uri, fit(image, job.classifier.size), fit(image, job.embedder.size)

    batches = (
        tf.data.Dataset.from_tensor_slices(list(job.pictures))
        .map(load_picture, num_parallel_calls=tf.data.AUTOTUNE, deterministic=False)
        .batch(shared.BATCH)
        .prefetch(tf.data.AUTOTUNE)
    )
    classify, embed = shared.load_model(job.classifier.folder), shared.load_model(job.embedder.folder)
    rows: list[dict[str, Any]] = []
    for uris, for_classifier, for_embedder in batches:
        answers = zip(uris.numpy(), classify(for_classifier), embed(for_embedder), strict=True)
        rows += [
            {"uri": uri.decode(), "embedding": vector} | shared.prediction(scores, job.classifier.labels)
            for uri, scores, vector in answers
        ]
    Path(job.output).mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), f"{job.output}/table.parquet")


if __name__ == "__main__":
    main()
