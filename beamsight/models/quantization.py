"""A bundle and pictures -> the bundle with an int8 form beside f32, if the two agree. NNCF does the arithmetic."""

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

# What the int8 form must reach. For classes the share of pictures with the same best one, for vectors the mean cosine.
AGREEMENT: dict[Task, float] = {"classify": 0.97, "embed": 0.98}

CHECKS = 32  # pictures that a form is judged by, at least

_CHECKED = 3  # one image in three is not calibrated with
_FORM = tuple(f"{bundle.OPENVINO}/int8.{suffix}" for suffix in ("bin", "xml"))


@dataclasses.dataclass(frozen=True, slots=True)
class Way:
    """How a form is made. Ways differ in minutes, in agreement and in images/s.

    depthwise: whether depthwise convolutions become int8 too; they are a small part of the work, and in small networks
    the most sensitive one. fast: biases are corrected from statistics, and not layer by layer as pictures run through.
    """

    depthwise: bool
    fast: bool


# In this order, until one agrees: the second gives half of the speed away. The first convolution always stays in
# floats, for it costs little, and what is lost of the three channels of colour is lost for all that follow.
QUICK, CAREFUL = Way(depthwise=True, fast=True), Way(depthwise=False, fast=False)
WAYS = (QUICK, CAREFUL)


def quantize(uri: str, pixels: Pixels, agreement: float | None = None, ways: Sequence[Way] = WAYS) -> Bundle:
    """Make the int8 form of the bundle at ``uri``, on a disk or gs://, and put it there -> the bundle as it now is.

    pixels: uint8[N, size, size, 3] RGB, N >= 1, of what the model will be used on; two thirds calibrate, the rest is
    what the form is judged by. agreement: what it must reach there, default ``AGREEMENT``. ways: to try, in this order.
    The content hash stays as it was, and a form that was there before is replaced. Raises ModelError where NNCF is
    missing, and where the form disagrees with f32; the bundle then is as it was.
    """
    made = bundle.read(uri)
    nncf, source = require(made, uri)
    folder = bundle.localize(uri, made.content_hash)
    if files.is_local(uri):
        bundle.verify(folder, made)
    needed = AGREEMENT[made.spec.task] if agreement is None else agreement
    calibration, checks, added = split(pixels, made.spec)
    reference = engines.load("openvino", folder, made.spec).infer(checks)
    found: list[dict[str, float]] = []
    for way in ways:
        with tempfile.TemporaryDirectory(prefix="beamsight-quantize-") as scratch:
            form = Path(scratch, _FORM[1])
            _write(nncf, folder / source, calibration, way, form)
            outputs = engines.load("openvino", Path(scratch), made.spec, "int8").infer(checks)
            found.append(measure(reference, outputs, made.spec))
            if _judged(found[-1], made.spec) >= needed:
                numbers = {"calibrated_with": len(calibration), "checked_with": len(checks), "drawn": added}
                return _put(made, uri, Path(scratch), found[-1] | {key: float(value) for key, value in numbers.items()})
    best = max(found, key=lambda measured: _judged(measured, made.spec))
    raise ModelError(
        f"the int8 form of {made.spec.name} agrees with f32 to {_judged(best, made.spec):.4g} ({_kind(made.spec)} over "
        f"{len(checks)} pictures, {added} of them drawn) where {needed:g} is needed, and was not kept: give more "
        "images like those it is for, ask for a smaller --agreement, or take --precision bf16"
    )


def require(made: Bundle, uri: str) -> tuple[Any, str]:
    """What an int8 form is made with and of: the module ``nncf``, the path of an IR. Raises ModelError without them."""
    source = made.ir("f32")
    if source is None:
        raise ModelError(f"{uri} has no form for OpenVINO, of which an int8 form is made; stage the model again")
    return _nncf(), source


def split(pixels: Pixels, spec: ModelSpec) -> tuple[Pixels, Pixels, int]:
    """Images -> those to calibrate with, those to check with, and how many of these are drawn for want of images."""
    checked = np.arange(len(pixels)) % _CHECKED == _CHECKED - 1
    added = max(0, CHECKS - int(checked.sum()))
    pictures = [drawn.draw(seed, spec.size, spec.size) for seed in range(added)]
    return pixels[~checked], np.stack([*pixels[checked], *pictures]), added


def measure(reference: Floats, outputs: Floats, spec: ModelSpec) -> dict[str, float]:
    """What the engine of f32 and another put out for the same pictures, float32[N, width] -> figures by name."""
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


def _judged(measured: dict[str, float], spec: ModelSpec) -> float:
    if not all(map(math.isfinite, measured.values())):  # NaN among the outputs is found in each figure but the share
        return 0.0
    return measured["mean_cosine" if spec.task == "embed" else "top1"]


def _kind(spec: ModelSpec) -> str:
    return "the mean cosine" if spec.task == "embed" else "the share of the same best class"


def _write(nncf: Any, source: Path, calibration: Pixels, way: Way, to: Path) -> None:
    """An IR -> the same in int8, at ``to`` and its ``.bin``. Raises ModelError."""
    ov = openvino()
    ranges = importlib.import_module("nncf.quantization.range_estimator")
    model = core().read_model(source)
    convolutions = [op.get_friendly_name() for op in model.get_ordered_ops() if op.get_type_name() == "Convolution"]
    ignored = nncf.IgnoredScope(
        names=convolutions[:1], types=[] if way.depthwise else ["GroupConvolution"], validate=False
    )
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():  # its bars of progress
            warnings.simplefilter("ignore")
            quantized = nncf.quantize(
                model,
                nncf.Dataset(calibration, lambda picture: picture[None]),
                preset=nncf.QuantizationPreset.MIXED,
                subset_size=len(calibration),
                fast_bias_correction=way.fast,
                ignored_scope=ignored,
                advanced_parameters=nncf.AdvancedQuantizationParameters(
                    # The range with the least error over all pictures: means of their extremes would cut off the
                    # strongest pictures, extremes of all would make the steps coarse for the rest.
                    activations_range_estimator_params=ranges.RangeEstimatorParametersSet.HISTOGRAM
                ),
            )
    except Exception as error:  # it raises what it likes
        raise ModelError(
            f"{source} cannot be made int8: {(str(error) or repr(error)).strip().splitlines()[-1]}"
        ) from error
    to.parent.mkdir(parents=True, exist_ok=True)
    ov.save_model(quantized, to, compress_to_fp16=False)


def _put(made: Bundle, uri: str, scratch: Path, measured: dict[str, float]) -> Bundle:
    """Add the form to the bundle: ``model.json`` last, so that one killed on the way leaves a bundle that works."""
    if made.ir("int8"):
        before = dataclasses.replace(
            made,
            files={path: digest for path, digest in made.files.items() if path not in _FORM},
            checks={form: figures for form, figures in made.checks.items() if form != "int8"},
        )
        files.write(files.join(uri, bundle.MODEL_JSON), before.to_json().encode())
    for path in _FORM:
        files.write(files.join(uri, path), (scratch / path).read_bytes())
    after = dataclasses.replace(
        made,
        files=dict(sorted((made.files | {path: bundle.sha256(scratch / path) for path in _FORM}).items())),
        made_with=made.made_with | {"nncf": metadata.version("nncf")},
        checks=made.checks | {"int8": measured},
    )
    files.write(files.join(uri, bundle.MODEL_JSON), after.to_json().encode())
    return after


def _nncf() -> Any:
    """The module ``nncf``, which would print every step, tell Google Analytics, and change the class of all loggers."""
    openvino()  # without the package that telemetry goes through
    loggers = logging.getLoggerClass()
    try:
        nncf: Any = importlib.import_module("nncf")
    except ImportError as error:
        raise ModelError(f"int8 forms are made by NNCF ({error}): pip install 'beamsight[quantize]'") from error
    finally:
        logging.setLoggerClass(loggers)
    logging.getLogger("nncf").setLevel(logging.ERROR)  # nncf.set_log_level sets handlers too, also foreign ones
    return nncf
