"""``beamsight models compare`` and ``quantize``: another precision beside f32, on the user's own images."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from beamsight.models import agreement, quantization, sample_images
from beamsight.models.options import CompareOptions, QuantizeOptions
from transforms import vector_math
from transforms.imaging.prepare import Pixels
from transforms.inference import bundle, engines, heads
from transforms.inference.bundle import Bundle
from transforms.inference.engine import Engine, Floats
from transforms.inference.spec import ModelSpec, Precision
from transforms.storage import files

_CHUNK = 64  # images in memory at once


class _Timed:
    """An engine, what it put out so far, and the seconds that it took."""

    def __init__(self, engine: Engine, spec: ModelSpec) -> None:
        self._engine = engine
        self._outputs: list[Floats] = []
        self._seconds = 0.0
        engine.infer(np.full((min(engine.batch, _CHUNK), spec.size, spec.size, 3), 128, np.uint8))  # the slow first one

    def take(self, pixels: Pixels) -> None:
        since = time.perf_counter()
        self._outputs.append(self._engine.infer(pixels))
        self._seconds += time.perf_counter() - since

    def outputs(self) -> Floats:
        return np.concatenate(self._outputs)

    def rate(self) -> float:
        """Images a second."""
        return sum(map(len, self._outputs)) / self._seconds


def compare(options: CompareOptions) -> str:
    """Run f32 and another precision on the same pixels -> a table of two columns on how far they agree.

    Raises UsageError for what cannot be compared, and where no image can be read.
    """
    uri = files.absolute(options.bundle)
    made = bundle.read(uri)
    gpu = Path("/dev/nvidia0").exists()
    forms: tuple[Precision, Precision] = ("f32", options.precision)
    names = [engines.choose(options.wanted_engine, form, made, gpu=gpu) for form in forms]
    sample = _sample(options, made)
    folder = _folder(uri, made)
    reference, other = (
        _Timed(engines.load(name, folder, made.spec, form), made.spec) for name, form in zip(names, forms, strict=True)
    )
    for pixels in sample.chunks(_CHUNK):
        reference.take(pixels)
        other.take(pixels)
    rows = [("", f"{forms[0]} {names[0]}", f"{forms[1]} {names[1]}")]
    rows += figures(reference.outputs(), other.outputs(), made.spec)
    rows.append(("images/s", f"{reference.rate():.1f}", f"{other.rate():.1f}"))
    return f"{made.spec.name}, {_images(sample, len(reference.outputs()))}\n{_table(rows)}"


def figures(reference: Floats, outputs: Floats, spec: ModelSpec) -> list[tuple[str, str, str]]:
    """What two engines put out for the same pictures, float32[N, width] -> rows of a table: name, first, second.

    The first column holds what agreement with itself would be.
    """
    if spec.task == "classify":
        before, after = (heads.probabilities(rows, spec.output) for rows in (reference, outputs))
        drift = agreement.score_drift(before, after)
        return [
            ("top-1 agreement", "100 %", f"{vector_math.top1_agreement(before, after):.1%}".replace("%", " %")),
            ("score drift, mean", "0", f"{drift.mean:.4f}"),
            ("score drift, largest", "0", f"{drift.largest:.4f}"),
        ]
    cosines = vector_math.cosines(reference, outputs)
    enough = len(reference) > agreement.NEIGHBOURS + 1
    kept = f"{agreement.neighbours_kept(reference, outputs):.1%}".replace("%", " %") if enough else "too few images"
    return [
        ("cosine, least", "1", f"{cosines.min():.5f}"),
        ("cosine, mean", "1", f"{cosines.mean():.5f}"),
        (f"{agreement.NEIGHBOURS} nearest kept", "100 %", kept),
    ]


def quantize(options: QuantizeOptions) -> str:
    """Make a bundle's int8 form, calibrated on the user's images -> what was measured, in lines.

    Raises ModelError where it disagrees with f32, see ``quantization.quantize``.
    """
    uri = files.absolute(options.bundle)
    made = bundle.read(uri)
    quantization.require(made, uri)
    sample = _sample(options, made)
    pixels = np.concatenate(list(sample.chunks(_CHUNK)))
    measured = quantization.quantize(uri, pixels, options.agreement).checks["int8"]
    lines = [f"{made.spec.name} has an int8 form now, at {options.bundle}; {_images(sample, len(pixels))}"]
    return "\n".join([*lines, *(f"{name.replace('_', ' ')}  {value:.5g}" for name, value in measured.items())])


def _sample(options: CompareOptions | QuantizeOptions, made: Bundle) -> sample_images.Sample:
    return sample_images.Sample(sample_images.choose(options.images, options.limit, options.uri_column), made.spec)


def _folder(uri: str, made: Bundle) -> Path:
    folder = bundle.localize(uri, made.content_hash)
    if files.is_local(uri):  # one on gs:// was checked as it was copied
        bundle.verify(folder, made)
    return folder


def _images(sample: sample_images.Sample, count: int) -> str:
    left_out = f", {sample.broken.total()} left out ({sample.said()})" if sample.broken else ""
    return f"{count} image{'' if count == 1 else 's'}{left_out}"


def _table(rows: list[tuple[str, str, str]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return "\n".join(f"{row[0]:{widths[0]}}  {row[1]:>{widths[1]}}  {row[2]:>{widths[2]}}".rstrip() for row in rows)
