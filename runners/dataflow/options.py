"""Where a job runs and on what: what was asked -> Beam's options for Dataflow, with what suits this job besides."""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib import metadata
from typing import Any

from apache_beam.options.pipeline_options import (
    DebugOptions,
    GoogleCloudOptions,
    PipelineOptions,
    SetupOptions,
    StandardOptions,
    WorkerOptions,
)

from runners.dataflow import machine
from runners.dataflow.machine import Machine
from runners.dataflow.submit_options import SubmitOptions
from runners.jobs import beam_options
from transforms.storage import files

FOLDER = "beamsight"  # of the bucket: models, staged code, temporary files

IMAGES_PYTHON = (3, 11)  # of the images that are built from containers/

# The next unit is fetched and decoded while the last one is written. More would hold more pixels and do no more: the
# models take all cores anyway.
HARNESS_THREADS = 2

_ACCELERATOR = re.compile(r"worker_accelerator=(?:.*;)?type:([^;]+)")
_PROCESSES = "use_multiple_sdk_containers"


def to_beam(where: SubmitOptions, output: str, arguments: Iterable[str]) -> PipelineOptions:
    """Beam's own options as they were given, and for what they leave open what is here. output: of the tables."""
    beam = beam_options.parse(list(arguments))
    beam.view_as(StandardOptions).runner = beam_options.DATAFLOW
    cloud, workers = beam.view_as(GoogleCloudOptions), beam.view_as(WorkerOptions)
    _fill(
        cloud, project=where.project, region=where.region, job_name=where.job_name,
        service_account_email=where.service_account,
    )  # fmt: skip
    if cloud.temp_location or cloud.staging_location:  # one stands for both, as with Beam
        _fill(cloud, temp_location=cloud.staging_location, staging_location=cloud.temp_location)
    elif at := folder(where.bucket, output):
        _fill(cloud, temp_location=files.join(at, "temp"), staging_location=files.join(at, "staging"))
    version = metadata.version("beamsight")
    cloud.labels = [f"beamsight={version.replace('.', '-')}", *where.labels, *(cloud.labels or [])]
    if where.gpu and gpu_of(beam) is None:
        service = f"worker_accelerator=type:{where.gpu};count:1;install-nvidia-driver:5xx"
        cloud.dataflow_service_options = [*(cloud.dataflow_service_options or []), service]
    _machines(where, workers, gpu_of(beam))
    _fill(workers, network=where.network, subnetwork=where.subnetwork)
    _fill(workers, use_public_ips=False if where.no_public_ips else None)
    _process(where, beam, version)
    return beam


def _machines(where: SubmitOptions, workers: WorkerOptions, gpu: str | None) -> None:
    suits = machine.GPUS[gpu].machine_type if gpu in machine.GPUS else machine.CPU_TYPE
    _fill(workers, machine_type=where.machine_type or suits)
    _fill(workers, disk_size_gb=where.disk_gb or (machine.GPU_DISK_GB if gpu else machine.CPU_DISK_GB))
    _fill(workers, disk_type=machine.disk_type(workers.machine_type))
    _fill(workers, num_workers=where.workers)
    _fill(workers, max_num_workers=max(where.max_workers, workers.num_workers or 0))


def _process(where: SubmitOptions, beam: PipelineOptions, version: str) -> None:
    """One process a machine, from the image alone: its models take all cores, and once the memory."""
    debug, workers = beam.view_as(DebugOptions), beam.view_as(WorkerOptions)
    if not any(name in (_PROCESSES, f"no_{_PROCESSES}") for name in debug.experiments or []):
        debug.add_experiment(f"no_{_PROCESSES}")
    _fill(debug, number_of_worker_harness_threads=HARNESS_THREADS)
    if where.container_image:
        _fill(workers, sdk_container_image=tagged(where.container_image, version, gpu_of(beam) is not None))
    setup = beam.view_as(SetupOptions)
    if workers.sdk_container_image and setup.sdk_location == "default":
        setup.sdk_location = "container"


def tagged(image: str, version: str, gpu: bool) -> str:
    """An image without a tag or digest -> the one of this version for CPUs or GPUs."""
    name = image.rpartition("/")[2]
    return image if ":" in name or "@" in name else f"{image}:{version}-{'gpu' if gpu else 'cpu'}"


def is_ours(image: str) -> bool:
    """Whether an image is named as ``tagged`` names those that are built from ``containers/``."""
    return image.endswith((f":{metadata.version('beamsight')}-cpu", f":{metadata.version('beamsight')}-gpu"))


def gpu_of(beam: PipelineOptions) -> str | None:
    """The type of the workers' GPU, e.g. ``nvidia-l4``."""
    named = [_ACCELERATOR.match(each) for each in beam.view_as(GoogleCloudOptions).dataflow_service_options or []]
    return next((found[1] for found in named if found), None)


def machine_of(beam: PipelineOptions) -> Machine:
    """The machine of ``to_beam``'s options."""
    workers = beam.view_as(WorkerOptions)
    return Machine.of(workers.machine_type, gpu_of(beam), workers.disk_size_gb)


def models_folder(beam: PipelineOptions) -> str:
    """Where models are staged: beside the temporary files where those are in a folder of ours, else in that bucket.

    Empty where there is no bucket.
    """
    temp = beam.view_as(GoogleCloudOptions).temp_location or ""
    ours = files.join("/", FOLDER, "temp")
    root = temp.removesuffix(ours) if temp.endswith(ours) else _bucket(temp)
    return files.join(root, FOLDER, "models") if root else ""


def folder(bucket: str | None, output: str) -> str | None:
    """Where temporary files go: in the bucket, or in that of the output; None where neither is one."""
    named = bucket or _bucket(output)
    return files.join(named, FOLDER) if named else None


def _bucket(output: str) -> str | None:
    found = re.match(r"gs://[^/]+", output)
    return found[0] if found else None


def _fill(view: Any, **values: object) -> None:
    for name, value in values.items():
        if value is not None and getattr(view, name) is None:
            setattr(view, name, value)
