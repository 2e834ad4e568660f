"""What must be right before a job is sent to machines that cost money. Each failure is one line with its remedy."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Sequence
from pathlib import Path

from apache_beam.options.pipeline_options import GoogleCloudOptions, PipelineOptions, SetupOptions, WorkerOptions

from beamsight.models.downloads import Report, ignore
from runners.dataflow import options
from runners.jobs import resolve
from runners.jobs.options import NO_MODEL
from transforms.errors import FetchError, ModelError, UsageError
from transforms.inference import bundle
from transforms.inference.bundle import Bundle
from transforms.inference.recipe import Recipe
from transforms.inference.spec import Task
from transforms.storage import files, local

_INSTALLS = ("setup_file", "requirements_file", "extra_packages", "prebuild_sdk_container_engine")


def require_complete(beam: PipelineOptions) -> None:
    """Raises UsageError where it is not said who pays, where it runs, and what the workers run."""
    cloud, workers = beam.view_as(GoogleCloudOptions), beam.view_as(WorkerOptions)
    if not cloud.project:
        raise UsageError("no project: name the Google Cloud project that runs and pays the job with --project")
    if not cloud.region:
        raise UsageError("no region: name one with --region, best that of the images' bucket, such as europe-west4")
    for option in ("temp_location", "staging_location"):
        place = getattr(cloud, option)
        if not place:
            raise UsageError(
                f"no --{option}: name a bucket for models, code and temporary files with --bucket gs://..."
            )
        if files.scheme(place) != "gs":
            raise UsageError(f"--{option} {place} is in no bucket; name a folder on gs://")
    setup = beam.view_as(SetupOptions)
    if not workers.sdk_container_image and not any(getattr(setup, name) for name in _INSTALLS):
        raise UsageError(
            "no image: name the one for workers with --container-image (docs/dataflow.md: how it is built), or have "
            "them install the job at each start with --setup_file=./setup.py"
        )


def require_python(beam: PipelineOptions) -> None:
    """Raises UsageError where the image has another Python: the code of one minor version is no code for another."""
    image = str(beam.view_as(WorkerOptions).sdk_container_image or "")
    here, there = (f"{major}.{minor}" for major, minor in (sys.version_info[:2], options.IMAGES_PYTHON))
    if options.is_ours(image) and here != there:
        raise UsageError(
            f"this is Python {here}, and {image} has {there}, which cannot read what another one sends; submit with "
            f"Python {there}, or name an image of your own by its tag"
        )


def require_engine(recipes: Sequence[Recipe], beam: PipelineOptions) -> None:
    """Raises UsageError for a model that only TensorFlow can run, where the image for CPUs comes without it."""
    image = str(beam.view_as(WorkerOptions).sdk_container_image or "")
    for recipe in recipes:
        if recipe.engine == "tensorflow" and options.gpu_of(beam) is None and options.is_ours(image):
            raise UsageError(
                f"{recipe.spec.name} would run with TensorFlow, which {image} has not; stage the model again so that "
                "it has a form for OpenVINO, take --engine openvino, or name an image with TensorFlow by its tag"
            )


def require_writable(option: str, folder: str) -> None:
    """Write a small file below a folder and remove it. Raises UsageError where that fails."""
    probe = files.join(folder, f".writable-{secrets.token_hex(4)}")
    try:
        files.write(probe, b"written by beamsight to see that it can be; may be removed")
        files.delete(probe)
    except (UsageError, FetchError) as error:
        raise UsageError(
            f"{option} {folder} cannot be written to: {error}; give your account and the workers' service account "
            "Storage Object Admin on the bucket, or name another"
        ) from error


def stage_model(model: str, task: Task, folder: str, report: Report = ignore) -> str:
    """A registered name, a bundle on this disk or in a bucket -> the URI of the bundle that workers can read.

    One on this disk is copied to ``folder``, unless the same files are there. Of one in a bucket it is checked that no
    file is missing; that each has its hash the workers check, as they copy it. Raises ModelError.
    """
    if model == NO_MODEL:
        return model
    uri = resolve.find_bundle(model, task, report)
    made = bundle.read(uri)
    if not files.is_local(uri):
        _require_whole(uri, made)
        return uri
    target = files.join(folder, f"{made.spec.name}-{made.files_hash[:16]}")
    if not _is_there(target, made):
        here = Path(local.path_of(uri))
        bundle.verify(here, made)
        bundle.write(made, here, target)
    return target


def _is_there(uri: str, made: Bundle) -> bool:
    try:
        _require_whole(uri, made)
        return bundle.read(uri).files_hash == made.files_hash
    except ModelError:
        return False


def _require_whole(uri: str, made: Bundle) -> None:
    prefix = uri.rstrip("/") + "/"
    there = {stat.uri.removeprefix(prefix) for stat in files.walk(prefix)}
    missing = sorted(made.files.keys() - there)
    if missing:
        raise ModelError(f"bundle {uri} lacks {missing[0]}; stage the model again")
