"""A model from anywhere -> a bundle that was seen to work."""

from __future__ import annotations

import dataclasses
import logging
import shutil
import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt
from filelock import FileLock

from beamsight.models import conversion, origin, registry
from beamsight.models.options import TIMEOUT
from transforms import installed
from transforms.errors import EngineError, ModelError, NotFound
from transforms.imaging import drawn
from transforms.inference import bundle, engines, heads, labels
from transforms.inference.bundle import Bundle
from transforms.inference.engine import Floats
from transforms.inference.spec import EngineName, ModelSpec, Task
from transforms.storage import files

PROBES = 4

# Between TensorFlow and the IR made from the same weights: what rounding explains.
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
) -> Bundle:
    """Fetch a model, run it once, and put it at ``to``, a folder on a disk or gs://.

    source: see ``origin.fetch``. spec: what it should be; ``width`` 0 takes what comes out. labels_text: a labels
    file; default ImageNet's. expected_hash: the content hash that the bundle must have, 64 hex digits. recorded_source:
    what ``model.json`` and the tables say of where it came from; default ``source``.
    Raises ModelError where the model does not do what its spec says: shape, width, finite numbers, labels.
    """
    text = labels_text if labels_text is not None else labels.imagenet_text()
    origin_of_labels = "the labels file" if labels_text is not None else "ImageNet's list"
    classes = labels.parse(text, origin_of_labels)  # a broken file is found out before anything is fetched
    with tempfile.TemporaryDirectory(prefix="beamsight-stage-") as scratch:
        model = origin.fetch(source, Path(scratch), timeout)
        folder = Path(scratch, "bundle")
        if model.suffix == ".xml":
            conversion.from_ir(model, spec, folder / bundle.OPENVINO / "f32.xml")
        else:
            if spec.layout != "nhwc":
                raise ModelError(f"{source} is a SavedModel, whose layout is nhwc; leave --layout {spec.layout} out")
            try:
                shutil.copytree(model, folder / bundle.SAVED_MODEL)
            except OSError as error:
                raise ModelError(f"{source} cannot be copied: {error}") from error
        if spec.task == "classify":
            (folder / bundle.LABELS).write_text(text, encoding="utf-8")
        made_with = installed.versions("beamsight", "openvino", "tensorflow")
        made = Bundle(spec, recorded_source or source, _hashes(folder), made_with)
        if expected_hash is not None and made.content_hash != expected_hash.lower():
            raise ModelError(
                f"{source} has content hash {made.content_hash} where {expected_hash} is expected; "
                "it was not run and nothing was staged: find out which of the two is right"
            )
        outputs = _probe(folder, spec, source, model)
        spec = _found(outputs, spec, source)
        if spec.task == "classify":
            labels.check(classes, spec.width, spec.name, origin_of_labels)
        made = _with_ir(dataclasses.replace(made, spec=spec), folder, outputs)
        _require_free(to, made)
        bundle.write(made, folder, to)
        return made


def stage_registered(name: str, task: Task, timeout: float = TIMEOUT) -> str:
    """A registered model -> its bundle in this machine's cache, staged on first use, under a lock."""
    spec = registry.get(name, task)
    folder = bundle.cache_dir() / "models" / f"{name}-{task}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not (folder / bundle.MODEL_JSON).exists():
            if spec.source is None:
                raise ModelError(f"{name} is published nowhere any more; bring its files and stage them")
            stage(spec.source, spec, str(folder), timeout=timeout)
    return str(folder)


def _probe(folder: Path, spec: ModelSpec, source: str, model: Path) -> Floats:
    """Run the model on drawn pictures -> what it gives for them, float32[N, D]. model: where its files came from."""
    name: EngineName = "openvino" if model.suffix == ".xml" else "tensorflow"
    try:
        return engines.load(name, folder, spec).infer(_pictures(spec))
    except (ModelError, EngineError) as error:
        raise ModelError(
            f"{source} does not run on {spec.size}x{spec.size} pictures: {error}; is it the right model and --size? "
            f"{origin.remedy(source, model)}"
        ) from error


def _pictures(spec: ModelSpec) -> npt.NDArray[np.uint8]:
    return np.stack([drawn.draw(seed, spec.size, spec.size) for seed in range(PROBES)])


def _with_ir(made: Bundle, folder: Path, reference: Floats) -> Bundle:
    """A bundle with a SavedModel -> the same with an IR made from it, if the two agree on the probes.

    reference: what TensorFlow gives for them.
    If they do not, or the model cannot be converted, it stays without, and runs with TensorFlow; ``checks`` tells.
    """
    if not made.has_saved_model:
        return made
    ir = folder / bundle.OPENVINO / "f32.xml"
    try:
        conversion.from_saved_model(folder / bundle.SAVED_MODEL, made.spec, ir)
        outputs = engines.load("openvino", folder, made.spec).infer(_pictures(made.spec))
        if not np.isfinite(outputs).all():
            raise EngineError("OpenVINO gives NaN or infinity for drawn pictures")
    except (ModelError, EngineError) as error:
        _log.warning("%s will run with TensorFlow only: %s", made.spec.name, error)
        shutil.rmtree(ir.parent, ignore_errors=True)
        return made
    found = conversion.agreement(reference, outputs)
    if not _agree(found, made.spec):
        _log.warning("%s will run with TensorFlow only: OpenVINO disagrees with it, %s", made.spec.name, found)
        shutil.rmtree(ir.parent)
        return dataclasses.replace(made, checks={"f32": found})
    return dataclasses.replace(made, checks={"f32": found}, files=_hashes(folder))


def _agree(found: dict[str, float], spec: ModelSpec) -> bool:
    """Whether rounding explains it. Which of a vector's numbers is the largest it may well decide."""
    near = found["largest_difference"] <= LARGEST_DIFFERENCE and found["least_cosine"] >= LEAST_COSINE
    return near and (spec.task == "embed" or found["top1"] == 1)


def _found(outputs: Floats, spec: ModelSpec, source: str) -> ModelSpec:
    """What a model gave for the probes, float32[N, D], against its spec."""
    width = outputs.shape[1]
    if not np.isfinite(outputs).all():
        raise ModelError(f"{source} gives NaN or infinity for drawn pictures; its weights or its export are broken")
    if spec.width not in (0, width):
        raise ModelError(f"{source} gives {width} numbers an image where {spec.name} gives {spec.width}; wrong model?")
    if np.ptp(outputs, axis=0).max() == 0:
        raise ModelError(f"{source} gives the same numbers for different pictures; its weights are missing or zero")
    found = dataclasses.replace(spec, width=width)
    return found if spec.task == "embed" else dataclasses.replace(found, output=heads.kind_of(outputs))


def _hashes(folder: Path) -> dict[str, str]:
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): bundle.sha256(path) for path in paths}


def _require_free(to: str, made: Bundle) -> None:
    """Raises ModelError where another model lies at ``to``: jobs may be using it. A damaged one is put over."""
    try:
        data, _ = files.read(files.join(to, bundle.MODEL_JSON))
        there = Bundle.from_json(data, to)
    except (NotFound, ModelError):
        return
    if there.content_hash != made.content_hash:
        raise ModelError(
            f"{to} holds another bundle, {there.spec.name} {there.content_hash[:16]}…; "
            "choose another folder, or remove that one"
        )
