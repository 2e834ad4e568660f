"""Predict without a pipeline: a bundle as an object, for notebooks, tests, and serving single images."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

from transforms import defaults
from transforms.errors import UsageError
from transforms.imaging import colour, fit, slots
from transforms.imaging import decode as decoding
from transforms.inference import bundle, engines, heads
from transforms.inference.engine import Engine, Floats
from transforms.inference.labels import Label
from transforms.inference.spec import EngineName, ModelSpec, Precision
from transforms.storage import files

ImageLike: TypeAlias = "str | os.PathLike[str] | bytes | Image.Image | npt.NDArray[np.uint8]"

_CHUNK = 64  # images in memory at once


def decode(data: bytes, *, max_pixels: int = defaults.MAX_PIXELS) -> npt.NDArray[np.uint8]:
    """Decode the bytes of an image file, as a run does.

    Args:
        data: The file, in any format that Pillow or libheif reads.
        max_pixels: The most pixels that the file's header may declare.

    Returns:
        uint8[height, width, 3], RGB in sRGB, upright after EXIF orientation, with transparency on white.

    Raises:
        DecodeError: The bytes are not an image that can be used.

    Example:
        >>> import io
        >>> from PIL import Image
        >>> file = io.BytesIO()
        >>> Image.new("RGB", (3, 2), "red").save(file, "png")
        >>> decode(file.getvalue()).shape
        (2, 3, 3)
    """
    with slots.reserve(data):
        return decoding.decode_image(data, max_pixels=max_pixels).pixels


def load(uri: str | os.PathLike[str], *, engine: EngineName | None = None, precision: Precision = "f32") -> Predictor:
    """Load a bundle.

    Args:
        uri: The folder of the bundle, on a disk or gs://; ``beamsight models stage`` makes it.
        engine: The engine that runs it; by default openvino on CPUs and tensorflow on GPUs.
        precision: The numeric precision of the model.

    Raises:
        ModelError: The folder is not a whole bundle, or does not have the form that the engine needs.
    """
    place = files.absolute(os.fspath(uri))
    found = bundle.read(place)
    name = engines.choose(engine, precision, found, gpu=Path("/dev/nvidia0").exists())
    form = engines.form(name)
    folder = bundle.localize(place, found.content_hash, form=form)
    if files.is_local(place):  # a copy from gs:// is verified while it is made
        bundle.verify(folder, found.only(form))
    return Predictor(
        found.spec, engines.load(name, folder, found.spec, precision), bundle.load_labels(folder, found.spec)
    )


class Predictor:
    """A loaded model.

    Attributes:
        spec: What the model takes and gives.
        labels: The classes of a classifier, by index; empty for an embedder.
    """

    def __init__(self, spec: ModelSpec, engine: Engine, labels: Sequence[Label]) -> None:
        self.spec = spec
        self.labels = tuple(labels)
        self._engine = engine

    def predict(self, images: Iterable[ImageLike]) -> npt.NDArray[np.float32]:
        """Run the model on images, with the preprocessing of a run.

        Args:
            images: Paths or URIs, bytes of image files, Pillow images, or arrays uint8[height, width, 3] in RGB.

        Returns:
            float32[N, D] in the order of the images: probabilities of a classifier, vectors of an embedder.

        Raises:
            ImageError: An image cannot be read or decoded.
            EngineError: The model fails on a batch.
            UsageError: A value is none of these kinds.
        """
        remaining = iter(images)
        parts: list[Floats] = [np.zeros((0, self.spec.width), np.float32)]
        while chunk := [fit.fit_image(self._picture(image), self.spec) for image in islice(remaining, _CHUNK)]:
            parts.append(self._engine.infer(np.stack(chunk)))
        outputs = np.concatenate(parts)
        return heads.probabilities(outputs, self.spec.output) if self.spec.task == "classify" else outputs

    def _picture(self, image: ImageLike) -> Image.Image:
        if isinstance(image, Image.Image):
            return colour.to_srgb(image)
        if isinstance(image, np.ndarray):
            if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
                raise UsageError(f"an array of {image.dtype}{list(image.shape)} is not uint8[height, width, 3]")
            return Image.fromarray(image)
        if isinstance(image, str | os.PathLike):
            image, _ = files.read(files.absolute(os.fspath(image)), timeout=defaults.FETCH_TIMEOUT)
        if not isinstance(image, bytes):
            raise UsageError(f"{type(image).__name__} is not an image; give a path, bytes, a Pillow image, or an array")
        return decoding.decode_image(image, min_side=fit.min_side(self.spec)).image
