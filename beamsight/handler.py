"""A bundle as a model handler for ``RunInference`` of Apache Beam."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from apache_beam.ml.inference.base import ModelHandler, PredictionResult

from beamsight import inputs, predictor
from beamsight.predictor import Predictor
from transforms.errors import ModelError, UsageError
from transforms.inference.recipe import Recipe
from transforms.inference.spec import EngineName, Precision, Resizer

# Beam's own maximum is 10,000. That many images take 10 GB at the input size of B7, and a dead letter is a whole batch.
_MAX_BATCH_SIZE = 32


class ImageModelHandler(ModelHandler[npt.NDArray[np.uint8], PredictionResult, Predictor]):
    """Runs a bundle in ``apache_beam.ml.inference.base.RunInference``.

    The examples are images as the model takes them, uint8[size, size, 3] in RGB. ``pixels`` makes them from paths,
    URIs, bytes, Pillow images or arrays of any size, as a run does. The result of an example is a ``PredictionResult``:

    - ``example``: the example, or None with ``drop_examples``;
    - ``inference``: float32[D], the probabilities of a classifier or the vector of an embedder;
    - ``model_id``: the recipe, as in the column ``recipe`` of the tables.

    ``RunInference`` loads one model in each worker process, which its threads share. With ``large_model`` or
    ``model_copies``, all processes of a machine share.

    With ``with_exception_handling()``, an image that cannot be read or decoded is one element of
    ``failed_preprocessing``. An image that the model refuses takes its whole batch to ``failed_inferences``, because
    Beam's dead letters are batches; the error names its index in the batch. ``beamsight.ClassifyImages`` and
    ``beamsight.EmbedImages`` fail the one image alone.

    Args:
        bundle: The folder of the bundle, on a disk or gs://. It is read when the pipeline is built, and workers refuse
            another model in its place.
        engine: The engine that runs it; by default openvino, or tensorflow if the machine that builds the pipeline has
            a GPU. For workers with GPUs, pass ``tensorflow``.
        precision: The numeric precision of the model: f32, bf16, or int8 if the bundle has it.
        resizer: ``simd`` or ``pillow``, see docs/tables.md. None for simd where it is installed, and pillow elsewhere.
        engine_threads: Cores that the engine may use. None for all.
        drop_examples: Leave the pixels out of the results. At the input size of B7 they take 1 MB each.
        min_batch_size: Minimum number of images in a batch.
        max_batch_size: Maximum number of images in a batch. None for 32, or ``min_batch_size`` if it is larger.
        max_batch_duration_secs: Maximum time to wait for a full batch, for streaming.
        max_batch_weight: Maximum weight of a batch; needs ``element_size_fn``.
        element_size_fn: The weight of an example.
        large_model: Load one model a machine instead of one a process.
        model_copies: Number of models that are loaded on a machine.
        env_vars: Environment variables to set before the model is loaded.

    Raises:
        ModelError: When the pipeline is built: the folder is no bundle, or does not have the form that the engine
            needs. On workers: the bundle is not whole, or is not the one that was read.
        UsageError: ``RunInference`` has ``inference_args``, or an example has another type or shape.
        InferenceError: The model has no result for an image.
        EngineError: The model fails on any image.

    Example:
        >>> import io
        >>> import apache_beam as beam
        >>> import beamsight
        >>> from apache_beam.ml.inference.base import KeyedModelHandler, RunInference
        >>> from PIL import Image
        >>> file = io.BytesIO()
        >>> Image.new("RGB", (40, 30), "red").save(file, "png")
        >>> handler = beamsight.ImageModelHandler(classifier)
        >>> keyed = KeyedModelHandler(handler).with_preprocess_fn(handler.pixels)
        >>> with beam.Pipeline("FnApiRunner") as pipeline:
        ...     results = pipeline | beam.Create([("red.png", file.getvalue())]) | RunInference(keyed)
        ...     _ = results | beam.MapTuple(lambda key, result: print(key, result.inference.dtype))
        red.png float32
    """

    def __init__(
        self,
        bundle: str | os.PathLike[str],
        *,
        engine: EngineName | None = None,
        precision: Precision = "f32",
        resizer: Resizer | None = None,
        engine_threads: int | None = None,
        drop_examples: bool = False,
        min_batch_size: int | None = None,
        max_batch_size: int | None = None,
        max_batch_duration_secs: int | None = None,
        max_batch_weight: int | None = None,
        element_size_fn: Callable[[Any], int] | None = None,
        large_model: bool = False,
        model_copies: int | None = None,
        env_vars: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(
            min_batch_size=min_batch_size,
            max_batch_size=max_batch_size or max(_MAX_BATCH_SIZE, min_batch_size or 1),
            max_batch_duration_secs=max_batch_duration_secs,
            max_batch_weight=max_batch_weight,
            element_size_fn=element_size_fn,
            large_model=large_model,
            model_copies=model_copies,
            env_vars=dict(env_vars or {}),
        )
        self._bundle = os.fspath(bundle)
        self._engine = engine
        self._precision = precision
        self._resizer = resizer
        self._engine_threads = engine_threads
        self._drop_examples = drop_examples
        self._read: Recipe | None = None

    @property
    def _recipe(self) -> Recipe:
        """Return the recipe. The bundle is read once, when the pipeline is built or the handler is first used."""
        if self._read is None:
            self._read = predictor.read_recipe(self._bundle, self._engine, self._precision, self._resizer)
        return self._read

    def pixels(self, image: Any) -> Any:
        """Read, decode, crop and resize an image for the model. Pass this method to ``with_preprocess_fn``.

        Args:
            image: A path or URI, bytes of an image file, a Pillow image, or an array uint8[height, width, 3] in RGB.
                For ``KeyedModelHandler``, a pair of a key and one of these.

        Returns:
            uint8[size, size, 3], RGB. For a pair, a pair of the key and such an array.

        Raises:
            ImageError: The image cannot be read or decoded.
            UsageError: The value is none of these kinds.
        """
        if isinstance(image, tuple) and len(image) == 2:
            key, image = image
            return key, self.pixels(image)
        return inputs.fit_image(image, self._recipe.spec)

    def load_model(self) -> Predictor:
        """Load the bundle. ``RunInference`` calls this once a process."""
        return predictor.open_recipe(self._recipe, self._engine_threads)

    def run_inference(
        self,
        batch: Sequence[npt.NDArray[np.uint8]],
        model: Predictor,
        inference_args: dict[str, Any] | None = None,  # noqa: ARG002 - Beam passes it; see validate_inference_args
    ) -> list[PredictionResult]:
        """Run the model on a batch: uint8[size, size, 3] each. The results are in the order of the examples."""
        recipe = self._recipe
        size = recipe.spec.size
        for index, example in enumerate(batch):
            is_array = isinstance(example, np.ndarray)
            if not is_array or example.dtype != np.uint8 or example.shape != (size, size, 3):
                kind = inputs.describe(example) if is_array else type(example).__name__
                raise UsageError(
                    f"example {index} of the batch is {kind} and not uint8[{size}, {size}, 3], which "
                    f"{recipe.spec.name} takes; use RunInference(handler.with_preprocess_fn(handler.pixels))"
                )
        outputs = model.predict_pixels(np.stack(batch))
        return [
            PredictionResult(None if self._drop_examples else example, row, recipe.folder)
            for example, row in zip(batch, outputs, strict=True)
        ]

    def get_num_bytes(self, batch: Sequence[npt.NDArray[np.uint8]]) -> int:
        """Return the number of bytes of the pixels of a batch."""
        return sum(example.nbytes for example in batch)

    def get_metrics_namespace(self) -> str:
        """Return the namespace of the metrics that ``RunInference`` collects."""
        return "BeamML_beamsight"

    def validate_inference_args(self, inference_args: dict[str, Any] | None) -> None:
        """Read the bundle, because Beam calls this when the pipeline is built. Raises UsageError for any arguments."""
        if inference_args:
            raise UsageError(f"beamsight models take no inference_args, but RunInference has {sorted(inference_args)}")
        _ = self._recipe

    def update_model_path(self, model_path: str | None = None) -> None:
        """Use another bundle from now on, for ``watch_model_pattern`` and ``model_metadata_pcoll`` of RunInference.

        Args:
            model_path: The folder of the bundle or its ``model.json``. None to change nothing.

        Raises:
            ModelError: The bundle cannot be used, or needs other pixels than ``pixels`` makes.
        """
        path = (model_path or "").removesuffix("/model.json")
        if not path or path == self._bundle:
            return
        recipe = predictor.read_recipe(path, self._engine, self._precision, self._resizer)
        before = self._recipe.spec
        if (recipe.spec.crop, recipe.spec.size) != (before.crop, before.size):
            raise ModelError(
                f"{path} takes {recipe.spec.preprocessing()}, but {self._bundle} {before.preprocessing()}; a model can "
                "only be replaced by one with the same input"
            )
        self._bundle, self._read = path, recipe
