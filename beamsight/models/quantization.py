"""Add an int8 form to a bundle, if it agrees with f32 on the user's images. NNCF quantizes."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import io
import logging
import math
import tempfile
import warnings
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from beamsight.models import agreement
from transforms import vector_math
from transforms.errors import ModelError
from transforms.imaging import drawn
from transforms.inference import bundle, engines, heads
from transforms.inference.bundle import Bundle
from transforms.inference.engine import Floats, Pixels
from transforms.inference.libraries import core, openvino
from transforms.inference.spec import ModelSpec, Task
from transforms.storage import files

# What the int8 form must reach: the share of images with the same best class, or the mean cosine of the vectors.
AGREEMENT: dict[Task, float] = {"classify": 0.97, "embed": 0.98}

CHECKS = 32  # smallest number of images that a form is checked on

_CHECKED = 3  # one image in three checks the form and does not calibrate it
_FORM = tuple(f"{bundle.OPENVINO}/int8.{suffix}" for suffix in ("bin", "xml"))


@dataclasses.dataclass(frozen=True, slots=True)
class Method:
    """How to make an int8 form. Methods differ in the minutes they take, in agreement and in images/s.

    depthwise: depthwise convolutions become int8 too. They are a small part of the work, and the most sensitive part of
    small networks. fast: biases are corrected from statistics, instead of layer by layer with images.
    """

    depthwise: bool
    fast: bool


# The methods are tried in this order until one agrees. The second one loses half of the speed gain. The first
# convolution stays in float: it costs little, and its errors in the colour channels would reach all later layers.
QUICK, CAREFUL = Method(depthwise=True, fast=True), Method(depthwise=False, fast=False)
METHODS = (QUICK, CAREFUL)


def quantize(uri: str, pixels: Pixels, agreement: float | None = None, methods: Sequence[Method] = METHODS) -> Bundle:
    """Make the int8 form of a bundle, write it into the bundle, and return the changed bundle.

    The content hash stays the same. An existing int8 form is replaced.

    Args:
        uri: Folder of the bundle, on a disk or gs://.
        pixels: Typical images, uint8[N, size, size, 3] RGB, N >= 1. Two thirds calibrate the form, the rest checks it.
        agreement: Agreement with f32 that the form must reach. None stands for ``AGREEMENT``.
        methods: Methods to try, in this order.

    Raises:
        ModelError: NNCF is missing, or no form agrees with f32. The bundle is unchanged.
    """
    before = bundle.read(uri)
    spec = before.spec
    nncf, source = requirements(before, uri)
    folder = bundle.localize(uri, before.content_hash)
    if files.is_local(uri):
        bundle.verify(folder, before)
    needed = AGREEMENT[spec.task] if agreement is None else agreement
    calibration, checks, added = split(pixels, spec)
    counts = {"calibrated_with": float(len(calibration)), "checked_with": float(len(checks)), "drawn": float(added)}
    reference = engines.load("openvino", folder, spec).infer(checks)
    best = -1.0
    for method in methods:
        with tempfile.TemporaryDirectory(prefix="beamsight-quantize-") as scratch:
            _write(nncf, folder / source, calibration, method, Path(scratch, _FORM[1]))
            outputs = engines.load("openvino", Path(scratch), spec, "int8").infer(checks)
            figures = measure(reference, outputs, spec)
            if _agreement(figures, spec) >= needed:
                return _add_form(before, uri, Path(scratch), figures | counts)
            best = max(best, _agreement(figures, spec))
    raise ModelError(
        f"the int8 form of {spec.name} agrees with f32 to {best:.4g} ({_agreement_name(spec)} over {len(checks)} "
        f"images, {added} of them drawn) where {needed:g} is needed, and was not kept: pass more images like those "
        "that the model is for, a smaller --agreement, or use --precision bf16"
    )


def requirements(model: Bundle, uri: str) -> tuple[Any, str]:
    """Return the module ``nncf`` and the path of the bundle's f32 IR. Raises ModelError where one is missing."""
    source = model.ir("f32")
    if source is None:
        raise ModelError(f"{uri} has no OpenVINO form to make an int8 form from; stage the model again")
    return _nncf(), source


def split(pixels: Pixels, spec: ModelSpec) -> tuple[Pixels, Pixels, int]:
    """Return the images to calibrate with, the images to check with, and how many of the latter are drawn.

    Drawn images are added where there are fewer than ``CHECKS``.
    """
    checked = np.arange(len(pixels)) % _CHECKED == _CHECKED - 1
    added = max(0, CHECKS - int(checked.sum()))
    pictures = [drawn.draw(seed, spec.size, spec.size) for seed in range(added)]
    return pixels[~checked], np.stack([*pixels[checked], *pictures]), added


def measure(reference: Floats, outputs: Floats, spec: ModelSpec) -> dict[str, float]:
    """Return the agreement between the outputs float32[N, width] of f32 and of another form, by name."""
    if spec.task == "embed":
        cosines = vector_math.cosines(reference, outputs)
        return {"mean_cosine": float(cosines.mean()), "least_cosine": float(cosines.min())}
    before, after = (heads.probabilities(rows, spec.output) for rows in (reference, outputs))
    drift = agreement.score_drift(before, after)
    return {
        "top1": vector_math.top1_agreement(before, after),
        "mean_drift": drift.mean,
        "largest_drift": drift.largest,
    }


def _agreement(figures: dict[str, float], spec: ModelSpec) -> float:
    if not all(map(math.isfinite, figures.values())):  # NaN in the outputs does not show in "top1".
        return 0.0
    return figures["mean_cosine" if spec.task == "embed" else "top1"]


def _agreement_name(spec: ModelSpec) -> str:
    return "the mean cosine" if spec.task == "embed" else "the share of the same best class"


def _write(nncf: Any, source: Path, calibration: Pixels, method: Method, to: Path) -> None:
    """Quantize an IR to int8, and write it to ``to`` and its ``.bin``. Raises ModelError."""
    ov = openvino()
    ranges = importlib.import_module("nncf.quantization.range_estimator")
    model = core().read_model(source)
    convolutions = [op.get_friendly_name() for op in model.get_ordered_ops() if op.get_type_name() == "Convolution"]
    ignored = nncf.IgnoredScope(
        names=convolutions[:1], types=[] if method.depthwise else ["GroupConvolution"], validate=False
    )
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():  # NNCF prints progress bars.
            warnings.simplefilter("ignore")
            quantized = nncf.quantize(
                model,
                nncf.Dataset(calibration, lambda image: image[None]),
                preset=nncf.QuantizationPreset.MIXED,
                subset_size=len(calibration),
                fast_bias_correction=method.fast,
                ignored_scope=ignored,
                advanced_parameters=nncf.AdvancedQuantizationParameters(
                    # This chooses the range with the least error over all images. The mean of their extremes would
                    # clip the strongest images, and the overall extremes would make the steps coarse for the rest.
                    activations_range_estimator_params=ranges.RangeEstimatorParametersSet.HISTOGRAM
                ),
            )
    except Exception as error:  # NNCF raises errors of many types.
        raise ModelError(
            f"{source} cannot be made int8: {(str(error) or repr(error)).strip().splitlines()[-1]}"
        ) from error
    to.parent.mkdir(parents=True, exist_ok=True)
    ov.save_model(quantized, to, compress_to_fp16=False)


def _add_form(before: Bundle, uri: str, scratch: Path, figures: dict[str, float]) -> Bundle:
    """Write the form into the bundle, ``model.json`` last, so that the bundle works if this process is killed."""
    if before.ir("int8"):
        without = dataclasses.replace(
            before,
            files={path: digest for path, digest in before.files.items() if path not in _FORM},
            checks={form: checks for form, checks in before.checks.items() if form != "int8"},
        )
        files.write(files.join(uri, bundle.MODEL_JSON), without.to_json().encode())
    for path in _FORM:
        files.write(files.join(uri, path), (scratch / path).read_bytes())
    after = dataclasses.replace(
        before,
        files=dict(sorted((before.files | {path: bundle.sha256(scratch / path) for path in _FORM}).items())),
        made_with=before.made_with | {"nncf": metadata.version("nncf")},
        checks=before.checks | {"int8": figures},
    )
    files.write(files.join(uri, bundle.MODEL_JSON), after.to_json().encode())
    return after


def _nncf() -> Any:
    """Import ``nncf`` without its printing of every step, its Google Analytics, and its change to all loggers."""
    openvino()  # This import blocks the telemetry package.
    loggers = logging.getLoggerClass()
    try:
        nncf: Any = importlib.import_module("nncf")
    except ImportError as error:
        raise ModelError(f"int8 forms need NNCF ({error}): pip install 'beamsight[quantize]'") from error
    finally:
        logging.setLoggerClass(loggers)
    logging.getLogger("nncf").setLevel(logging.ERROR)  # nncf.set_log_level also changes handlers of others.
    return nncf
