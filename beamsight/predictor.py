"""Predict without a pipeline: a bundle as an object, for notebooks, tests, and serving single images."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import numpy as np
import numpy.typing as npt

from beamsight import inputs
from beamsight.inputs import ImageLike
from beamsight.models import choose
from transforms import defaults
from transforms.errors import ImageError, InferenceError, UsageError
from transforms.inference import engines, heads, loading
from transforms.inference.engine import Engine, Floats, Pixels, infer_each
from transforms.inference.labels import Label
from transforms.inference.recipe import Recipe
from transforms.inference.spec import EngineName, Precision, Resizer
from transforms.records import ClassScore
from transforms.storage import files

_CHUNK = 64  # images in memory at once


def load(
    bundle: str | os.PathLike[str],
    *,
    engine: EngineName | None = None,
    precision: Precision = "f32",
    resizer: Resizer | None = None,
    engine_threads: int | None = None,
) -> Predictor:
    """Load a bundle.

    Args:
        bundle: The folder of the bundle, on a disk or gs://; ``beamsight models stage`` makes it.
        engine: The engine that runs it; by default openvino on CPUs and tensorflow on GPUs.
        precision: The numeric precision of the model: f32, bf16, or int8 if the bundle has it.
        resizer: ``simd`` or ``pillow``, see docs/tables.md. None for simd where it is installed, and pillow elsewhere.
        engine_threads: Cores that the engine may use. None for all.

    Raises:
        ModelError: The folder is not a whole bundle, or does not have the form that the engine needs.

    Example:
        >>> import beamsight
        >>> model = beamsight.load(classifier)
        >>> model.spec.task
        'classify'
    """
    return open_recipe(read_recipe(bundle, engine, precision, resizer), engine_threads)


def read_recipe(
    uri: str | os.PathLike[str], engine: EngineName | None, precision: Precision, resizer: Resizer | None
) -> Recipe:
    """Read the description of a bundle, and choose the engine. The recipe is the one of ``beamsight run``."""
    place = files.absolute(os.fspath(uri))
    gpu = engines.has_gpu()
    return choose.make_recipe(place, None, engine=engine, precision=precision, resizer=resizer, gpu=gpu)


def open_recipe(recipe: Recipe, engine_threads: int | None = None) -> Predictor:
    """Load the bundle of a recipe. Raises ModelError if it is not whole, or changed since the recipe was made."""
    choose.verify_here(recipe)
    (model,) = loading.load([recipe], threads=engine_threads)
    return Predictor(recipe, model.engine, model.labels)


class Predictor:
    """A loaded model, which ``beamsight.load`` returns. Threads can share it.

    Attributes:
        spec: What the model takes and gives.
        recipe: The id of the model and of all that changes its numbers, as in the column ``recipe`` of the tables.
        labels: The classes of a classifier, by index; empty for an embedder.
    """

    def __init__(self, recipe: Recipe, engine: Engine, labels: Sequence[Label]) -> None:
        self.spec = recipe.spec
        self.recipe = recipe.folder
        self.labels = tuple(labels)
        self._engine = engine

    def predict(self, images: Iterable[ImageLike]) -> npt.NDArray[np.float32]:
        """Run the model on images, in batches, with the preprocessing of a run.

        The images may be of different kinds. For paths, URIs and bytes, the numbers are those of a run. For Pillow
        images and arrays they are too, except for JPEGs with a shorter side of more than 1,400 pixels: a run decodes
        them at a reduced size.

        Args:
            images: Paths or URIs, bytes of image files, Pillow images, or arrays uint8[height, width, 3] in RGB.

        Returns:
            float32[N, D] in the order of the images: probabilities of a classifier, vectors of an embedder.

        Raises:
            ImageError: An image cannot be read or decoded, or the model has no result for it. The message starts with
                the index of the image.
            UsageError: A value is none of these kinds. The message starts with its index. Or ``images`` is one image.
            EngineError: The model fails on any image.

        Example:
            >>> import beamsight
            >>> import numpy as np
            >>> from PIL import Image
            >>> model = beamsight.load(embedder)
            >>> vectors = model.predict([Image.new("RGB", (40, 30), "red"), np.zeros((30, 40, 3), np.uint8)])
            >>> vectors.shape == (2, model.spec.width)
            True
        """
        inputs.require_several(images)
        remaining = enumerate(images)
        parts = [np.zeros((0, self.spec.width), np.float32)]
        with ThreadPoolExecutor(defaults.THREADS, thread_name_prefix="predict") as pool:
            while chunk := list(islice(remaining, _CHUNK)):
                pixels = list(pool.map(self._fit, chunk))
                parts.append(self._infer(pixels, first=chunk[0][0]))
        return np.concatenate(parts)

    def classify(self, images: Iterable[ImageLike], *, top_k: int = 5) -> list[list[ClassScore]]:
        """Return the best classes of images.

        Args:
            images: As for ``predict``.
            top_k: Number of classes for each image.

        Returns:
            For each image its classes, best first. Classes with equal scores are in the order of their ids.

        Raises:
            UsageError: The model is an embedder, or ``top_k`` is less than 1.
            ImageError, EngineError: As for ``predict``.

        Example:
            >>> import beamsight
            >>> from PIL import Image
            >>> model = beamsight.load(classifier)
            >>> ((best, second),) = model.classify([Image.new("RGB", (40, 30), "red")], top_k=2)
            >>> best.label == model.labels[best.class_id].name
            True
        """
        if self.spec.task != "classify":
            raise UsageError(f"{self.spec.name} is an embedder and has no classes; use predict() for its vectors")
        if top_k < 1:
            raise UsageError(f"top_k {top_k} is too small; pass 1 or more")
        scores = self.predict(images)
        return [
            [self._class(np.int32(index), row[index]) for index in indices]
            for indices, row in zip(heads.top_k(scores, top_k), scores, strict=True)
        ]

    def _class(self, index: np.int32, score: np.float32) -> ClassScore:
        label = self.labels[index]
        return ClassScore(index, label.wnid, label.name, score)

    def predict_pixels(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Run the model on images that have its input size already.

        Args:
            pixels: uint8[N, size, size, 3], RGB, where size is ``spec.size``.

        Returns:
            float32[N, D], as for ``predict``.

        Raises:
            InferenceError: The model has no result for an image. The message starts with its index.
            UsageError: The array has another type or shape.
            EngineError: The model fails on any image.
        """
        size = self.spec.size
        if pixels.dtype != np.uint8 or pixels.shape[1:] != (size, size, 3):
            raise UsageError(
                f"{inputs.describe(pixels)} is not uint8[N, {size}, {size}, 3], which {self.spec.name} takes"
            )
        return self._infer(list(pixels), first=0)

    def _infer(self, pixels: list[Pixels], *, first: int) -> Floats:
        """Run the model on images of its input size. ``first`` is the index of the first one."""
        rows = [np.zeros((0, self.spec.width), np.float32)]
        for index, row in enumerate(infer_each(self._engine, pixels, self.spec) if pixels else [], first):
            if isinstance(row, InferenceError):
                _name(row, index)
                raise row
            rows.append(row[np.newaxis])
        outputs = np.concatenate(rows)
        return heads.probabilities(outputs, self.spec.output) if self.spec.task == "classify" else outputs

    def _fit(self, item: tuple[int, ImageLike]) -> Pixels:
        index, image = item
        try:
            return inputs.fit_image(image, self.spec)
        except (ImageError, UsageError) as error:
            _name(error, index)
            raise


def _name(error: ImageError | UsageError, index: int) -> None:
    """Put the index of the image in front of the message of an error."""
    error.args = (f"image {index}: {error}",)
