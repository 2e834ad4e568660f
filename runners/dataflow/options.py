"""Where a job runs and on what: what was asked -> Beam's options for Dataflow, with what suits this job besides.

A GPU of ``--gpu`` is a resource hint of the step that runs the models. Dataflow calls this right fitting, and starts
machines for that step alone: the other steps, and a night without images, take no GPU. A GPU in Beam's own options is
one of every machine.
"""

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

# https://cloud.google.com/dataflow/docs/guides/right-fitting: a hint and the service option exclude each other.
_ACCELERATOR = re.compile(r"(?:worker_accelerator|accelerator)=(?:.*;)?type:([^;]+)")
_COST_OPTIMIZED = "COST_OPTIMIZED"
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
    _fill(cloud, flexrs_goal=_COST_OPTIMIZED if where.flexrs else None)
    _machines(where, beam)
    _fill(workers, network=where.network, subnetwork=where.subnetwork)
    _fill(workers, use_public_ips=False if where.no_public_ips else None)
    _process(where, beam, version)
    return beam


def _machines(where: SubmitOptions, beam: PipelineOptions) -> None:
    workers, gpu = beam.view_as(WorkerOptions), gpu_of(where, beam)
    others = machine.CPU_TYPE if _is_right_fitted(where, beam) else machine_types(where, beam)[0]
    _fill(workers, machine_type=others)
    _fill(workers, disk_size_gb=where.disk_gb or (machine.GPU_DISK_GB if gpu else machine.CPU_DISK_GB))
    # A job has one disk type for all its machines.
    _fill(workers, disk_type=machine.disk_type(workers.machine_type, machine_of(where, beam).machine_type))
    _fill(workers, num_workers=where.workers)
    _fill(workers, max_num_workers=max(where.max_workers, workers.num_workers or 0))


def _process(where: SubmitOptions, beam: PipelineOptions, version: str) -> None:
    """One process a machine, from the image alone: its models take all cores, and once the memory."""
    debug, workers = beam.view_as(DebugOptions), beam.view_as(WorkerOptions)
    if not any(name in (_PROCESSES, f"no_{_PROCESSES}") for name in debug.experiments or []):
        debug.add_experiment(f"no_{_PROCESSES}")
    _fill(debug, number_of_worker_harness_threads=HARNESS_THREADS)
    if where.container_image:
        _fill(workers, sdk_container_image=tagged(where.container_image, version, gpu_of(where, beam) is not None))
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


def gpu_of(where: SubmitOptions, beam: PipelineOptions) -> str | None:
    """The type of the GPU that runs the models, e.g. ``nvidia-l4``. Beam's own options go before ours."""
    return _own_gpu(beam) or where.gpu


def _own_gpu(beam: PipelineOptions) -> str | None:
    """The type of the GPU that Beam's own options give to every machine."""
    hints = beam.view_as(StandardOptions).resource_hints or []
    services = beam.view_as(GoogleCloudOptions).dataflow_service_options or []
    named = [_ACCELERATOR.match(str(each)) for each in (*services, *hints)]
    return next((found[1] for found in named if found), None)


def _is_right_fitted(where: SubmitOptions, beam: PipelineOptions) -> bool:
    return where.gpu is not None and _own_gpu(beam) is None


def accelerator_of(where: SubmitOptions, beam: PipelineOptions) -> str | None:
    """The resource hint of the step that runs the models. None if every machine is the same."""
    if where.gpu is None or not _is_right_fitted(where, beam):
        return None
    parts = [f"type:{where.gpu}", "count:1", f"machine_type:{machine_types(where, beam)[0]}"]
    parts.append("install-nvidia-driver:5xx")
    if provisioning := machine.GPUS[where.gpu].provisioning:
        parts.append(f"provisioning_model:{provisioning}")
    return ";".join(parts)


def machine_types(where: SubmitOptions, beam: PipelineOptions) -> tuple[str, ...]:
    """The machine types to try for the models, in this order."""
    gpu = gpu_of(where, beam)
    if not _is_right_fitted(where, beam) and (own := beam.view_as(WorkerOptions).machine_type):
        return (str(own),)
    if where.machine_types:
        return where.machine_types
    return (machine.GPUS[gpu].machine_type,) if gpu in machine.GPUS else machine.CPU_TYPES


def machine_of(where: SubmitOptions, beam: PipelineOptions) -> Machine:
    """The machine that runs the models, with ``to_beam``'s options."""
    disk_gb = beam.view_as(WorkerOptions).disk_size_gb
    return Machine.of(machine_types(where, beam)[0], gpu_of(where, beam), disk_gb)


def is_flexrs(beam: PipelineOptions) -> bool:
    """Whether Dataflow may delay the job, for a lower price."""
    return bool(beam.view_as(GoogleCloudOptions).flexrs_goal == _COST_OPTIMIZED)


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
