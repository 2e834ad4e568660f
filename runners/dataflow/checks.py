"""Checks before a job is sent to Dataflow. Each fault is one line with its remedy."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from apache_beam.options.pipeline_options import GoogleCloudOptions, PipelineOptions, SetupOptions, WorkerOptions
from apache_beam.options.pipeline_options_validator import PipelineOptionsValidator

from beamsight.models import choose
from beamsight.models.downloads import Report, ignore
from beamsight.text import nearest
from runners.dataflow import flexrs, options
from runners.jobs.options import NO_MODEL
from transforms.errors import FetchError, ModelError, UsageError
from transforms.inference import bundle
from transforms.inference.bundle import Bundle
from transforms.inference.recipe import Recipe
from transforms.inference.spec import Task
from transforms.storage import files, local

# https://cloud.google.com/dataflow/docs/resources/locations
REGIONS = tuple(
    f"{place}{number}"
    for place, numbers in {
        "africa-south": (1,),
        "asia-east": (1, 2),
        "asia-northeast": (1, 2, 3),
        "asia-south": (1, 2),
        "asia-southeast": (1, 2, 3),
        "australia-southeast": (1, 2),
        "europe-central": (2,),
        "europe-north": (1, 2),
        "europe-southwest": (1,),
        "europe-west": (1, 2, 3, 4, 6, 8, 9, 10, 12, 15),
        "me-central": (1, 2),
        "me-west": (1,),
        "northamerica-northeast": (1, 2),
        "northamerica-south": (1,),
        "southamerica-east": (1,),
        "southamerica-west": (1,),
        "us-central": (1,),
        "us-east": (1, 4, 5),
        "us-south": (1,),
        "us-west": (1, 2, 3, 4),
    }.items()
    for number in numbers
)

_INSTALLS = ("setup_file", "requirements_file", "extra_packages", "prebuild_sdk_container_engine")


def require_complete(beam: PipelineOptions, gpu: str | None) -> None:
    """Raise UsageError if the project, the region, a bucket or the image of the workers is missing or cannot exist.

    Also raises it for options that exclude each other. The message has a line for each fault. Without two valid
    folders, Beam would create a bucket, even for its ``--dry_run``.

    Args:
        beam: Beam's options of the job.
        gpu: The GPU of the machines that run the models.
    """
    if faults := [*_incomplete(beam), *flexrs.list_faults(beam, gpu)]:
        raise UsageError("\n".join(faults))


def _incomplete(beam: PipelineOptions) -> Iterator[str]:
    """Yield what is missing or cannot exist."""
    cloud, workers = beam.view_as(GoogleCloudOptions), beam.view_as(WorkerOptions)
    if not cloud.project:
        yield "no project: pass --project, the Google Cloud project that runs and pays for the job"
    if not cloud.region:
        yield "no region: pass --region, such as europe-west4; the region of the images' bucket is best"
    elif cloud.region not in REGIONS:
        yield (
            f"--region {cloud.region} is not a region of Dataflow{nearest(cloud.region, REGIONS)}; the regions are "
            f"{', '.join(REGIONS)}"
        )
    folders = {option: getattr(cloud, option) for option in ("temp_location", "staging_location")}
    if missing := [option for option, folder in folders.items() if not folder]:
        yield f"no --{missing[0]}: pass --bucket gs://..., the bucket for models, code and temporary files"
    faults: dict[str, str] = {}  # by bucket: both folders are usually derived from one option
    for option, folder in folders.items():
        if folder and (fault := _folder_fault(beam, option, folder)):
            faults.setdefault("/".join(folder.split("/")[:3]), fault)
    yield from faults.values()
    setup = beam.view_as(SetupOptions)
    if not workers.sdk_container_image and not any(getattr(setup, name) for name in _INSTALLS):
        yield (
            "no container image: pass --container-image, the image of the workers (docs/dataflow.md shows how to build "
            "it), or --setup_file=./setup.py, with which each worker installs the job when it starts"
        )


def _folder_fault(beam: PipelineOptions, option: str, folder: str) -> str | None:
    """Return why a folder of Beam cannot exist in a bucket. None if it can."""
    if files.scheme(folder) != "gs":
        return f"--{option} {folder} is not in a bucket; pass a folder on gs://"
    try:
        files.check(folder)
    except UsageError as error:
        return str(error)
    errors = PipelineOptionsValidator(beam, None).validate_gcs_path(beam.view_as(GoogleCloudOptions), option)
    return f"Beam rejects --{option} {folder!r}: {errors[0]}" if errors else None


def require_python(beam: PipelineOptions) -> None:
    """Raise UsageError if the image has another minor version of Python, which cannot load the pickled code."""
    image = str(beam.view_as(WorkerOptions).sdk_container_image or "")
    here, there = (f"{major}.{minor}" for major, minor in (sys.version_info[:2], options.IMAGES_PYTHON))
    if options.is_ours(image) and here != there:
        raise UsageError(
            f"this is Python {here}, but {image} has Python {there}, and the two versions must match; submit with "
            f"Python {there}, or pass the tag of your own image"
        )


def require_engine(recipes: Sequence[Recipe], beam: PipelineOptions, *, gpu: bool) -> None:
    """Raise UsageError if a model needs TensorFlow, which the image for CPUs does not contain."""
    image = str(beam.view_as(WorkerOptions).sdk_container_image or "")
    for recipe in recipes:
        if recipe.engine == "tensorflow" and not gpu and options.is_ours(image):
            raise UsageError(
                f"{recipe.spec.name} needs TensorFlow, which {image} does not contain; stage the model again for "
                "OpenVINO, pass --engine openvino, or pass the tag of an image with TensorFlow"
            )


def require_writable(option: str, folder: str) -> None:
    """Write a small file to a folder and delete it. Raises UsageError if that fails."""
    probe = files.join(folder, f".writable-{secrets.token_hex(4)}")
    try:
        files.write(probe, b"beamsight wrote this file to check write access; it can be deleted")
        files.delete(probe)
    except (UsageError, FetchError) as error:
        raise UsageError(
            f"{option} {folder} is not writable: {error}; grant your account and the workers' service account "
            "Storage Object Admin on the bucket, or pass another one"
        ) from error


def stage_model(model: str, task: Task, folder: str, report: Report = ignore) -> str:
    """Copy a model to a bucket, unless it is there already.

    Args:
        model: A registered name, a bundle on this disk or in a bucket, or ``none``.
        task: The task of the model.
        folder: Where bundles from this disk are copied to.
        report: Receives the steps of staging a registered model.

    Returns:
        The URI of a bundle that workers can read. Workers check the hashes of its files when they copy it.

    Raises:
        ModelError: The bundle is damaged or incomplete.
    """
    if model == NO_MODEL:
        return model
    uri = choose.find_bundle(model, task, report)
    bundle_ = bundle.read(uri)
    if not files.is_local(uri):
        _require_complete_bundle(uri, bundle_)
        return uri
    target = files.join(folder, f"{bundle_.spec.name}-{bundle_.files_hash[:16]}")
    if not _exists(target, bundle_):
        here = Path(local.path_of(uri))
        bundle.verify(here, bundle_)
        bundle.write(bundle_, here, target)
    return target


def _exists(uri: str, bundle_: Bundle) -> bool:
    try:
        _require_complete_bundle(uri, bundle_)
        return bundle.read(uri).files_hash == bundle_.files_hash
    except ModelError:
        return False


def _require_complete_bundle(uri: str, bundle_: Bundle) -> None:
    prefix = uri.rstrip("/") + "/"
    names = {stat.uri.removeprefix(prefix) for stat in files.walk(prefix)}
    missing = sorted(bundle_.files.keys() - names)
    if missing:
        raise ModelError(f"bundle {uri} has no {missing[0]}; stage the model again")
