"""Compare precisions on the user's own images: ``beamsight models compare`` and ``beamsight models quantize``."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from beamsight import text
from beamsight.models import agreement, quantization, sample_images
from beamsight.models.options import CompareOptions, QuantizeOptions
from transforms import vector_math
from transforms.imaging.opening import Pixels
from transforms.inference import bundle, engines, heads
from transforms.inference.bundle import Bundle
from transforms.inference.engine import Engine, Floats
from transforms.inference.spec import ModelSpec, Precision
from transforms.storage import files

_CHUNK = 64  # images in memory at once


class _TimedEngine:
    """An engine that keeps its outputs and counts its seconds."""

    def __init__(self, engine: Engine, spec: ModelSpec) -> None:
        self._engine = engine
        self._outputs: list[Floats] = []
        self._seconds = 0.0
        # The first call is slow and not counted.
        engine.infer(np.full((min(engine.batch, _CHUNK), spec.size, spec.size, 3), 128, np.uint8))

    def run(self, pixels: Pixels) -> None:
        start = time.perf_counter()
        self._outputs.append(self._engine.infer(pixels))
        self._seconds += time.perf_counter() - start

    def outputs(self) -> Floats:
        return np.concatenate(self._outputs)

    def rate(self) -> float:
        """Return images per second."""
        return sum(map(len, self._outputs)) / self._seconds


def compare(options: CompareOptions) -> str:
    """Run f32 and another precision on the same pixels, and return a table of how far they agree.

    Raises:
        UsageError: The bundle cannot run in this precision, or no image can be read.
    """
    uri = files.absolute(options.bundle)
    model = bundle.read(uri)
    gpu = engines.has_gpu()
    precisions: tuple[Precision, Precision] = ("f32", options.precision)
    names = [engines.choose(options.wanted_engine, precision, model, gpu=gpu) for precision in precisions]
    sample = _sample(options, model)
    folder = _folder(uri, model)
    reference, other = (
        _TimedEngine(engines.load(name, folder, model.spec, precision), model.spec)
        for name, precision in zip(names, precisions, strict=True)
    )
    for pixels in sample.chunks(_CHUNK):
        reference.run(pixels)
        other.run(pixels)
    rows = [
        ("", f"{precisions[0]} {names[0]}", f"{precisions[1]} {names[1]}"),
        *figures(reference.outputs(), other.outputs(), model.spec),
        ("images/s", f"{reference.rate():.1f}", f"{other.rate():.1f}"),
    ]
    table = text.columns(rows, right=(1, 2))
    return f"{model.spec.name}, {_images(sample, len(reference.outputs()))}\n{table}"


def figures(reference: Floats, outputs: Floats, spec: ModelSpec) -> list[tuple[str, str, str]]:
    """Return rows of a table (name, reference, other) for the outputs float32[N, width] of two engines.

    The column of the reference holds the value of full agreement.
    """
    if spec.task == "classify":
        before, after = (heads.probabilities(rows, spec.output) for rows in (reference, outputs))
        drift = agreement.score_drift(before, after)
        return [
            ("top-1 agreement", "100 %", _percent(vector_math.top1_agreement(before, after))),
            ("score drift, mean", "0", f"{drift.mean:.4f}"),
            ("score drift, largest", "0", f"{drift.largest:.4f}"),
        ]
    cosines = vector_math.cosines(reference, outputs)
    enough = len(reference) > agreement.NEIGHBOURS + 1
    kept = _percent(agreement.neighbours_kept(reference, outputs)) if enough else "too few images"
    return [
        ("cosine, least", "1", f"{cosines.min():.5f}"),
        ("cosine, mean", "1", f"{cosines.mean():.5f}"),
        (f"{agreement.NEIGHBOURS} nearest kept", "100 %", kept),
    ]


def quantize(options: QuantizeOptions) -> str:
    """Make a bundle's int8 form, calibrated on the user's images, and return the measured agreement as text.

    Raises:
        ModelError: The int8 form disagrees with f32, see ``quantization.quantize``.
    """
    uri = files.absolute(options.bundle)
    model = bundle.read(uri)
    quantization.requirements(model, uri)  # They are checked before any image is read.
    sample = _sample(options, model)
    pixels = np.concatenate(list(sample.chunks(_CHUNK)))
    measured = quantization.quantize(uri, pixels, options.agreement).checks["int8"]
    lines = [f"{model.spec.name} now has an int8 form, at {options.bundle}; {_images(sample, len(pixels))}"]
    return "\n".join([*lines, *(f"{name.replace('_', ' ')}  {value:.5g}" for name, value in measured.items())])


def _sample(options: CompareOptions | QuantizeOptions, model: Bundle) -> sample_images.Sample:
    return sample_images.Sample(sample_images.choose(options.images, options.limit, options.uri_column), model.spec)


def _folder(uri: str, model: Bundle) -> Path:
    folder = bundle.localize(uri, model.content_hash)
    if files.is_local(uri):  # A bundle on gs:// is checked while it is copied.
        bundle.verify(folder, model)
    return folder


def _images(sample: sample_images.Sample, count: int) -> str:
    left_out = f", {sample.broken.total()} left out ({sample.reasons()})" if sample.broken else ""
    return f"{text.count(count, 'image')}{left_out}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
