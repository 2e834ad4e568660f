"""Stage models: fetch a model, check that it works, convert it to OpenVINO, and write a bundle."""

from __future__ import annotations

import dataclasses
import logging
import shutil
import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt
from filelock import FileLock

from beamsight.models import conversion, facts, origin, registry
from beamsight.models.downloads import Report, ignore
from beamsight.models.options import TIMEOUT
from transforms.errors import EngineError, ModelError, NotFound
from transforms.imaging import drawn
from transforms.inference import bundle, engines, heads, labels, libraries
from transforms.inference.bundle import Bundle
from transforms.inference.engine import Floats
from transforms.inference.spec import EngineName, ModelSpec, Task
from transforms.storage import files

PROBES = 4  # drawn images that a model is checked on

# Rounding explains differences up to these between TensorFlow and an IR of the same weights.
LARGEST_DIFFERENCE = 1e-4
LEAST_COSINE = 0.99999

_log = logging.getLogger("beamsight")


def stage(
    source: str,
    spec: ModelSpec,
    to: str,
    *,
    labels_text: str | None = None,
    expected_hash: str | None = None,
    recorded_source: str | None = None,
    timeout: float = TIMEOUT,
    report: Report = ignore,
) -> Bundle:
    """Fetch a model, run it once, and write it as a bundle.

    Args:
        source: Where the model is, see ``origin.fetch``.
        spec: What the model must match. ``width`` 0 accepts any width.
        to: Folder of the bundle, on a disk or gs://.
        labels_text: Text of a labels file. None stands for the classes of ImageNet. An embedder must not have as many
            outputs as there are classes, because it would be a classifier.
        expected_hash: Content hash that the bundle must have, 64 hex digits. It is checked before the model runs.
        recorded_source: Source that ``model.json`` and the tables name. None stands for ``source``.
        timeout: Longest silence of a server, in seconds.
        report: Receives a short line for each step.

    Raises:
        ModelError: The model does not match its spec (task, shape, width, labels), gives NaN, or cannot be fetched.
    """
    text = labels_text if labels_text is not None else labels.imagenet_text()
    origin_of_labels = "the labels file" if labels_text is not None else "ImageNet's list"
    classes = labels.parse(text, origin_of_labels)  # A broken labels file fails before anything is fetched.
    with tempfile.TemporaryDirectory(prefix="beamsight-stage-") as scratch:
        model = origin.fetch(source, Path(scratch), timeout, report, _download(source))
        folder = Path(scratch, "bundle")
        spec = _copy(model, source, spec, folder)
        if spec.task == "classify":
            (folder / bundle.LABELS).write_text(text, encoding="utf-8")
        made_with = libraries.installed_versions("beamsight", "openvino", "tensorflow")
        staged = Bundle(spec, recorded_source or source, _hashes(folder), made_with)
        if expected_hash is not None and staged.content_hash != expected_hash.lower():
            raise ModelError(
                f"{source} has content hash {staged.content_hash} where {expected_hash} is expected; "
                "the model was not run and nothing was staged: check which of the two is right"
            )
        report(f"checking {spec.name} on {PROBES} drawn images")
        outputs = _run_on_probes(folder, spec, source, model)
        spec = _complete(spec, outputs, source)
        if spec.task == "classify":
            labels.check(classes, spec.width, spec.name, origin_of_labels)
        else:
            _require_features(outputs, source, len(classes), origin_of_labels)
        staged = _with_ir(dataclasses.replace(staged, spec=spec), folder, outputs, report)
        _require_free(to, staged)
        report(f"writing the bundle to {to}")
        bundle.write(staged, folder, to)
        return staged


def cached_bundle(name: str, task: Task) -> Path:
    """Return the folder in this machine's cache where a registered model is staged on first use."""
    return bundle.cache_dir() / "models" / f"{name}-{task}"


def stage_registered(name: str, task: Task, timeout: float = TIMEOUT, report: Report = ignore) -> str:
    """Return the bundle of a registered model in this machine's cache. On first use it is staged, under a lock."""
    spec = registry.get(name, task)
    folder = cached_bundle(name, task)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not (folder / bundle.MODEL_JSON).exists():
            if spec.source is None:
                raise ModelError(f"{name} has no download; stage your own files with `beamsight models stage`")
            stage(spec.source, spec, str(folder), timeout=timeout, report=report)
    return str(folder)


def _download(source: str) -> origin.Download:
    """Return what is known of a download before it starts."""
    spec = registry.find_source(source)
    return origin.Download(spec.name, facts.of(spec).download_mb) if spec else origin.Download()


def _copy(model: Path, source: str, spec: ModelSpec, folder: Path) -> ModelSpec:
    """Copy the model's files into the bundle's folder, and return the spec with the layout of the model.

    An IR is converted to take uint8 RGB images.
    """
    if model.suffix == ".xml":
        layout = conversion.from_ir(model, spec, folder / bundle.OPENVINO / "f32.xml")
        return dataclasses.replace(spec, layout=layout)
    if spec.layout != "nhwc":
        raise ModelError(f"{source} is a SavedModel, whose layout is nhwc; remove --layout {spec.layout}")
    try:
        shutil.copytree(model, folder / bundle.SAVED_MODEL)
    except OSError as error:
        raise ModelError(f"{source} cannot be copied: {error}") from error
    return spec


def _run_on_probes(folder: Path, spec: ModelSpec, source: str, model: Path) -> Floats:
    """Return the model's outputs for the drawn images, float32[N, D]. model: where ``origin.fetch`` put its files."""
    name: EngineName = "openvino" if model.suffix == ".xml" else "tensorflow"
    try:
        return engines.load(name, folder, spec).infer(_probes(spec))
    except (ModelError, EngineError) as error:
        raise ModelError(
            f"{source} does not run on {spec.size}x{spec.size} images: {error}; is it the right model and --size? "
            f"{origin.remedy(source, model)}"
        ) from error


def _probes(spec: ModelSpec) -> npt.NDArray[np.uint8]:
    return np.stack([drawn.draw(seed, spec.size, spec.size) for seed in range(PROBES)])


def _with_ir(staged: Bundle, folder: Path, reference: Floats, report: Report) -> Bundle:
    """Return the bundle with an IR made from its SavedModel, if the IR agrees with TensorFlow on the drawn images.

    Where it disagrees, or the model cannot be converted, the bundle stays without an IR and runs with TensorFlow only.
    reference: the outputs of TensorFlow.
    """
    if not staged.has_saved_model:
        return staged
    ir = folder / bundle.OPENVINO / "f32.xml"
    try:
        report(f"converting {staged.spec.name} to OpenVINO")
        conversion.from_saved_model(folder / bundle.SAVED_MODEL, staged.spec, ir)
        report(f"comparing OpenVINO with TensorFlow on {PROBES} drawn images")
        outputs = engines.load("openvino", folder, staged.spec).infer(_probes(staged.spec))
        if not np.isfinite(outputs).all():
            raise EngineError("OpenVINO gives NaN or infinity for drawn images")
    except (ModelError, EngineError) as error:
        _log.warning("%s will run with TensorFlow only: %s", staged.spec.name, error)
        shutil.rmtree(ir.parent, ignore_errors=True)
        return staged
    checks = conversion.agreement(reference, outputs)
    if not _agrees(checks, staged.spec):
        _log.warning("%s will run with TensorFlow only: OpenVINO disagrees with it, %s", staged.spec.name, checks)
        shutil.rmtree(ir.parent)
        return dataclasses.replace(staged, checks={"f32": checks})
    return dataclasses.replace(staged, checks={"f32": checks}, files=_hashes(folder))


def _agrees(checks: dict[str, float], spec: ModelSpec) -> bool:
    """Return whether rounding explains the differences. Rounding can decide which number of a vector is the largest."""
    near = checks["largest_difference"] <= LARGEST_DIFFERENCE and checks["least_cosine"] >= LEAST_COSINE
    return near and (spec.task == "embed" or checks["top1"] == 1)


def _complete(spec: ModelSpec, outputs: Floats, source: str) -> ModelSpec:
    """Check the outputs for the drawn images, float32[N, D], and return the spec with their width and kind."""
    width = outputs.shape[1]
    if not np.isfinite(outputs).all():
        raise ModelError(f"{source} gives NaN or infinity for drawn images; its weights or its export are broken")
    if spec.width not in (0, width):
        raise ModelError(f"{source} gives {width} numbers an image where {spec.name} gives {spec.width}; wrong model?")
    if np.ptp(outputs, axis=0).max() == 0:
        raise ModelError(f"{source} gives the same numbers for different images; its weights are missing or zero")
    spec = dataclasses.replace(spec, width=width)
    return spec if spec.task == "embed" else dataclasses.replace(spec, output=heads.kind_of(outputs))


def _require_features(outputs: Floats, source: str, classes: int, origin_of_labels: str) -> None:
    """Raise ModelError where the outputs for the drawn images, float32[N, D], are those of a classifier."""
    width = outputs.shape[1]
    if heads.kind_of(outputs) == "probabilities":
        reason, otherwise = "its outputs are probabilities, which sum to 1 for each image", ""
    elif classes and width in (classes, classes + 1):  # One more is a background class.
        reason = f"it gives {width} numbers an image, and {origin_of_labels} has {classes} classes"
        otherwise = "; if the numbers are features, pass --labels none"
    else:
        return
    raise ModelError(
        f"{source} is a classifier and no embedder: {reason}; pass --task classify, or stage the model without its "
        f"last layer{otherwise}"
    )


def _hashes(folder: Path) -> dict[str, str]:
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): bundle.sha256(path) for path in paths}


def _require_free(to: str, staged: Bundle) -> None:
    """Raise ModelError where ``to`` holds another model, which jobs may be using. A damaged bundle is replaced.

    The same weights with another preprocessing are another model: their IR gives other numbers.
    """
    try:
        data, _ = files.read(files.join(to, bundle.MODEL_JSON))
        existing = Bundle.from_json(data, to)
    except (NotFound, ModelError):
        return
    if (existing.content_hash, existing.spec) != (staged.content_hash, staged.spec):
        raise ModelError(
            f"{to} holds another bundle, {existing.spec.name} {existing.content_hash[:16]}…; "
            "choose another folder, or remove that bundle"
        )
