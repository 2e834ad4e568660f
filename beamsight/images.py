"""The PTransform that processes the images of your own pipeline."""

from __future__ import annotations

from typing import NamedTuple

import apache_beam as beam

from beamsight.models import choose
from pipelines import images as graph
from runners.jobs import beam_options
from transforms import defaults
from transforms.errors import UsageError
from transforms.imaging.prepare import Limits
from transforms.inference import engines
from transforms.inference.recipe import Recipe
from transforms.inference.spec import EngineName, Precision, Resizer, Task
from transforms.process_rows import EMBEDDINGS, FAILURES, PREDICTIONS, RowSettings
from transforms.run_state import make_run_id
from transforms.storage import files


class ProcessedImages(NamedTuple):
    """The result of ``ProcessImages``: a PCollection for each kind of row. None without a model of that kind."""

    predictions: beam.PCollection | None
    embeddings: beam.PCollection | None
    failures: beam.PCollection


class ProcessImages(beam.PTransform):
    """Classifies and embeds images, and decodes each image once for both models.

    The input is a PCollection of URIs (``str``), of ``ImageRef``, of rows with a column ``uri``, or of pairs of a key
    (``str``) and the bytes of an image. The result has the PCollections ``predictions`` of ``PredictionRow``,
    ``embeddings`` of ``EmbeddingRow``, and ``failures`` of ``FailureRow``. For bytes, the column ``uri`` has the key.

    Each image becomes one row of each model, or one failure. If only one model refuses an image, there is a row of the
    other one too. Rows have the timestamp and the window of their image.

    The transform collects images across elements and bundles into units. Each unit is fetched and decoded ahead of
    the models. A bounded PCollection is counted and cut into units of about ``unit_size``. In a streaming pipeline,
    an image waits at most ``max_wait`` seconds for others of its window. In sliding windows, an image is processed
    once in each window, so apply them to the rows. In session windows, the images of a bundle become a unit.

    If the storage of the images does not answer, the runner retries the unit. No image becomes a failure for it.

    An image that ends the process that decodes it, for example by a crash of a decoder, ends the worker process. It is
    not isolated here: the runner retries its unit, and the pipeline fails if the image crashes each time. ``Catalog``
    isolates such an image: it becomes a failure in the next run.

    Each process loads the models of a transform once. A second transform loads them again, even if it names the same
    bundle. Pass ``classifier`` and ``embedder`` to one transform, or apply ``beam.Flatten`` to its inputs before.

    Args:
        classifier: The model that classifies: a name from ``beamsight models list``, or the folder of a bundle on a
            disk or gs://. None for no predictions. Models are looked up when the transform is applied.
        embedder: The model that makes the vectors, as ``classifier``. None for no embeddings.
        precision: Numeric precision of the models: ``f32``, ``bf16``, or ``int8``.
        engine: ``openvino`` or ``tensorflow``. None for tensorflow if this machine has a GPU, and openvino otherwise.
        resizer: ``simd`` or ``pillow``, see docs/tables.md. None for simd where it is installed, and pillow elsewhere.
        top_k: Number of classes in a row of predictions.
        probabilities: Add the column ``probabilities`` with all classes, see ``FullPredictionRow``.
        normalize: Scale vectors to length 1.
        unit_size: Number of images in a unit.
        max_wait: Maximum number of seconds for which an image of a stream waits for others.
        batch_size: Number of images in one call of a model. None for the engine's default.
        engine_threads: Number of cores for the models of a process. None for all.
        threads: Maximum number of concurrent downloads of a unit. None for the default, which keeps all cores busy.
        max_bytes: Maximum size of an image file, in bytes.
        max_pixels: Maximum number of pixels of an image.
        fetch_timeout: Maximum time for the download of an image from gs://, in seconds.

    Raises:
        UsageError: There is no model, or it does not suit its argument.
        ModelError: A bundle is damaged, or does not have the form that the engine needs.

    Example:
        >>> with beam.Pipeline() as pipeline:
        ...     images = pipeline | beam.Create([photo, "/missing.jpg"])
        ...     result = images | beamsight.ProcessImages(classifier=classifier, embedder=embedder)
        ...     _ = result.predictions | "Print" >> beam.Map(lambda row: print(row.label))
        ...     _ = result.embeddings | "Write" >> beam.io.WriteToParquet(f"{output}/vectors")
        ...     _ = result.failures | "Write failures" >> beam.io.WriteToParquet(f"{output}/failures")
        blue
    """

    def __init__(
        self,
        *,
        classifier: str | None = None,
        embedder: str | None = None,
        precision: Precision = "f32",
        engine: EngineName | None = None,
        resizer: Resizer | None = None,
        top_k: int = 5,
        probabilities: bool = False,
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
        wanted: tuple[tuple[str | None, Task], ...] = ((classifier, "classify"), (embedder, "embed"))
        self._models = [(model, task) for model, task in wanted if model is not None]
        if not self._models:
            raise UsageError("there is no model; pass classifier, embedder, or both")
        at_least_one = {"top_k": top_k, "unit_size": unit_size, "threads": threads, "batch_size": batch_size}
        for name, value in at_least_one.items():
            if value is not None and value < 1:
                raise UsageError(f"{name} {value} is too small; pass 1 or more")
        if max_wait <= 0:
            raise UsageError(f"max_wait {max_wait} is too small; pass a number of seconds above 0")
        self._engine: EngineName | None = engine
        self._precision: Precision = precision
        self._resizer: Resizer | None = resizer
        self._top_k, self._probabilities, self._normalize = top_k, probabilities, normalize
        self._unit_size = unit_size
        self._max_wait = max_wait
        self._settings = RowSettings(
            run_id=make_run_id(),
            limits=Limits(max_bytes=max_bytes, max_pixels=max_pixels, fetch_timeout=fetch_timeout),
            batch=batch_size,
            engine_threads=engine_threads,
            threads=threads,
        )

    def expand(self, images: beam.PCollection) -> ProcessedImages:
        options = images.pipeline.options
        bundles = [(choose.find_bundle(model, task), task) for model, task in self._models]
        for uri, task in bundles:
            if files.is_local(uri) and not beam_options.sees_this_disk(options):
                raise UsageError(
                    f"{choose.ROLES[task]} {uri} is on this machine, where the workers of the runner cannot see it; "
                    "stage a bundle with `beamsight models stage ... --to gs://...` and name that"
                )
        rows = images | "Process" >> graph.Process(
            tuple(self._make_recipe(uri, task) for uri, task in bundles),
            self._settings,
            unit_size=self._unit_size,
            max_wait=self._max_wait,
            workers=beam_options.workers(options),
        )
        return ProcessedImages(rows.get(PREDICTIONS), rows.get(EMBEDDINGS), rows[FAILURES])

    def _make_recipe(self, uri: str, task: Task) -> Recipe:
        recipe = choose.make_recipe(
            uri,
            task,
            engine=self._engine,
            precision=self._precision,
            resizer=self._resizer,
            gpu=engines.has_gpu(),
            top_k=self._top_k,
            probabilities=self._probabilities,
            normalize=self._normalize,
        )
        choose.verify_here(recipe)
        return recipe
