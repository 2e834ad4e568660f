"""PTransforms that process the images of your own pipeline with one model."""

from __future__ import annotations

from typing import NamedTuple, cast

import apache_beam as beam

from beamsight.images import ProcessImages
from transforms import defaults
from transforms.inference.spec import EngineName, Precision, Resizer


class ImageRows(NamedTuple):
    """The result of ``ClassifyImages`` and ``EmbedImages``: two PCollections."""

    rows: beam.PCollection
    failures: beam.PCollection


class ClassifyImages(beam.PTransform):
    """Classifies images. The result has the PCollections ``rows`` of ``PredictionRow``, and ``failures``.

    See ``ProcessImages`` for the input, the units, and the other arguments. As there, an image that ends the process
    that decodes it is not isolated, and two transforms with the same bundle load it twice in each process.

    Args:
        model: A name from ``beamsight models list``, or the folder of a bundle on a disk or gs://.
        precision: Numeric precision of the model.
        engine: The engine. None for the one that suits this machine.
        resizer: ``simd`` or ``pillow``, see docs/tables.md. None for simd where it is installed, and pillow elsewhere.
        top_k: Number of classes in a row.
        probabilities: Add the column ``probabilities`` with all classes, see ``FullPredictionRow``.
        unit_size: Number of images in a unit.
        max_wait: Maximum number of seconds for which an image of a stream waits for others.
        batch_size: Number of images in one call of the model. None for the engine's default.
        engine_threads: Number of cores for the model. None for all.
        threads: Maximum number of concurrent downloads of a unit. None for the default, which keeps all cores busy.
        max_bytes: Maximum size of an image file, in bytes.
        max_pixels: Maximum number of pixels of an image.
        fetch_timeout: Maximum time for the download of an image from gs://, in seconds.

    Example:
        >>> with beam.Pipeline() as pipeline:
        ...     classified = pipeline | beam.Create([photo]) | beamsight.ClassifyImages(classifier, top_k=2)
        ...     _ = classified.rows | beam.Map(lambda row: print(row.label, [best.label for best in row.top_k]))
        blue ['blue', 'red']
    """

    def __init__(
        self,
        model: str,
        *,
        precision: Precision = "f32",
        engine: EngineName | None = None,
        resizer: Resizer | None = None,
        top_k: int = 5,
        probabilities: bool = False,
        unit_size: int = defaults.UNIT_SIZE,
        max_wait: float = defaults.MAX_WAIT,
        batch_size: int | None = None,
        engine_threads: int | None = None,
        threads: int | None = None,
        max_bytes: int = defaults.MAX_BYTES,
        max_pixels: int = defaults.MAX_PIXELS,
        fetch_timeout: float = defaults.FETCH_TIMEOUT,
    ) -> None:
        super().__init__()
        self._process = ProcessImages(
            classifier=model,
            precision=precision,
            engine=engine,
            resizer=resizer,
            top_k=top_k,
            probabilities=probabilities,
            unit_size=unit_size,
            max_wait=max_wait,
            batch_size=batch_size,
            engine_threads=engine_threads,
            threads=threads,
            max_bytes=max_bytes,
            max_pixels=max_pixels,
            fetch_timeout=fetch_timeout,
        )

    def expand(self, images: beam.PCollection) -> ImageRows:
        result = self._process.expand(images)
        return ImageRows(cast(beam.PCollection, result.predictions), result.failures)


class EmbedImages(beam.PTransform):
    """Makes a vector for each image. The result has the PCollections ``rows`` of ``EmbeddingRow``, and ``failures``.

    See ``ProcessImages`` for the input, the units, and the other arguments. As there, an image that ends the process
    that decodes it is not isolated, and two transforms with the same bundle load it twice in each process.

    Args:
        model: A name from ``beamsight models list``, or the folder of a bundle on a disk or gs://.
        precision: Numeric precision of the model.
        engine: The engine. None for the one that suits this machine.
        resizer: ``simd`` or ``pillow``, see docs/tables.md. None for simd where it is installed, and pillow elsewhere.
        normalize: Scale vectors to length 1.
        unit_size: Number of images in a unit.
        max_wait: Maximum number of seconds for which an image of a stream waits for others.
        batch_size: Number of images in one call of the model. None for the engine's default.
        engine_threads: Number of cores for the model. None for all.
        threads: Maximum number of concurrent downloads of a unit. None for the default, which keeps all cores busy.
        max_bytes: Maximum size of an image file, in bytes.
        max_pixels: Maximum number of pixels of an image.
        fetch_timeout: Maximum time for the download of an image from gs://, in seconds.

    Example:
        >>> data = pathlib.Path(photo).read_bytes()
        >>> with beam.Pipeline() as pipeline:
        ...     embedded = pipeline | beam.Create([("photo 1", data)]) | beamsight.EmbedImages(embedder)
        ...     _ = embedded.rows | beam.Map(lambda row: print(row.uri, len(row.embedding)))
        photo 1 8
    """

    def __init__(
        self,
        model: str,
        *,
        precision: Precision = "f32",
        engine: EngineName | None = None,
        resizer: Resizer | None = None,
        normalize: bool = False,
        unit_size: int = defaults.UNIT_SIZE,
        max_wait: float = defaults.MAX_WAIT,
        batch_size: int | None = None,
        engine_threads: int | None = None,
        threads: int | None = None,
        max_bytes: int = defaults.MAX_BYTES,
        max_pixels: int = defaults.MAX_PIXELS,
        fetch_timeout: float = defaults.FETCH_TIMEOUT,
    ) -> None:
        super().__init__()
        self._process = ProcessImages(
            embedder=model,
            precision=precision,
            engine=engine,
            resizer=resizer,
            normalize=normalize,
            unit_size=unit_size,
            max_wait=max_wait,
            batch_size=batch_size,
            engine_threads=engine_threads,
            threads=threads,
            max_bytes=max_bytes,
            max_pixels=max_pixels,
            fetch_timeout=fetch_timeout,
        )

    def expand(self, images: beam.PCollection) -> ImageRows:
        result = self._process.expand(images)
        return ImageRows(cast(beam.PCollection, result.embeddings), result.failures)
