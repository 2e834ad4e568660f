"""What was asked -> Beam's options, with what suits this job where nothing was said."""

from __future__ import annotations

from typing import Any

import pytest
from apache_beam.options.pipeline_options import (
    DebugOptions,
    GoogleCloudOptions,
    PipelineOptions,
    SetupOptions,
    WorkerOptions,
)

from runners.dataflow import options
from runners.dataflow.submit_options import SubmitOptions
from transforms.errors import UsageError


def beam(*arguments: str, output: str = "gs://b/out", **asked: Any) -> PipelineOptions:
    return options.to_beam(SubmitOptions(project="p1", region="r", **asked), output, arguments)


def types(*arguments: str, **asked: Any) -> tuple[str, ...]:
    return options.machine_types(SubmitOptions(**asked), PipelineOptions(list(arguments)))


def test_defaults_suit_the_job() -> None:
    made = beam(container_image="repository/beamsight")
    cloud, workers, debug = (made.view_as(kind) for kind in (GoogleCloudOptions, WorkerOptions, DebugOptions))
    assert (cloud.temp_location, cloud.staging_location) == ("gs://b/beamsight/temp", "gs://b/beamsight/staging")
    assert (workers.machine_type, workers.disk_size_gb, workers.max_num_workers) == ("c3-standard-8", 50, 10)
    assert (workers.num_workers, workers.use_public_ips) == (None, None)
    assert debug.experiments == ["no_use_multiple_sdk_containers"]
    assert debug.number_of_worker_harness_threads == 2
    assert made.view_as(SetupOptions).sdk_location == "container"
    assert made.view_as(GoogleCloudOptions).flexrs_goal is None
    assert options.gpu_of(SubmitOptions(), made) is None
    assert options.accelerator_of(SubmitOptions(), made) is None
    assert options.models_folder(made) == "gs://b/beamsight/models"


def test_beams_own_options_go_before() -> None:
    made = beam(
        *("--project=p2", "--temp_location=gs://c/tmp/deep/", "--machine_type=n1-standard-4", "--max_num_workers=3"),
        *("--experiments=use_multiple_sdk_containers", "--labels=a=b", "--num_workers=2"),
        *("--sdk_container_image=mine:1", "--sdk_location=default"),
        machine_types=("c3-standard-4",),
        container_image="repository/beamsight",
        labels=("team=birds",),
    )
    cloud, workers = made.view_as(GoogleCloudOptions), made.view_as(WorkerOptions)
    assert (cloud.project, cloud.region) == ("p2", "r")
    assert cloud.temp_location == cloud.staging_location == "gs://c/tmp/deep/"
    assert options.models_folder(made) == "gs://c/beamsight/models"
    assert (workers.machine_type, workers.max_num_workers, workers.disk_type) == ("n1-standard-4", 3, None)
    assert workers.sdk_container_image == "mine:1"
    assert made.view_as(DebugOptions).experiments == ["use_multiple_sdk_containers"]
    assert cloud.labels[1:] == ["team=birds", "a=b"]


@pytest.mark.parametrize(
    ("gpu", "machine_type", "disk", "more"),
    [
        ("nvidia-l4", "g2-standard-8", "pd-ssd", ""),
        ("nvidia-tesla-t4", "n1-standard-8", "pd-ssd", ""),
        ("nvidia-tesla-a100", "a2-highgpu-1g", "pd-ssd", ""),
        ("nvidia-a100-80gb", "a2-ultragpu-1g", "pd-ssd", ""),
        ("nvidia-h100-80gb", "a3-highgpu-1g", "pd-ssd", ";provisioning_model:FLEX_START"),
        ("nvidia-rtx-pro-6000", "g4-standard-48", "hyperdisk-balanced", ""),
    ],
)
def test_a_gpu_is_for_the_models_alone(gpu: str, machine_type: str, disk: str, more: str) -> None:
    where = SubmitOptions(gpu=gpu)
    made = beam(gpu=gpu, container_image="repository/beamsight")
    workers = made.view_as(WorkerOptions)
    assert (workers.machine_type, workers.disk_size_gb) == ("c3-standard-8", 100)
    assert (workers.disk_type or "").endswith(disk)  # which suits both types
    assert workers.sdk_container_image.endswith("-gpu")
    assert options.gpu_of(where, made) == gpu
    assert not made.view_as(GoogleCloudOptions).dataflow_service_options
    hint = f"type:{gpu};count:1;machine_type:{machine_type};install-nvidia-driver:5xx{more}"
    assert options.accelerator_of(where, made) == hint
    assert options.machine_of(where, made).vcpus


def test_a_machine_type_for_the_models_is_one_with_the_gpu() -> None:
    where = SubmitOptions(gpu="nvidia-l4", machine_types=("g2-standard-16", "g2-standard-12"))
    made = options.to_beam(where, "gs://b/out", ["--machine_type=n2-standard-4"])
    assert made.view_as(WorkerOptions).machine_type == "n2-standard-4"  # Beam's own option is that of the other steps
    assert ";machine_type:g2-standard-16;" in (options.accelerator_of(where, made) or "")


@pytest.mark.parametrize(
    "own",
    [
        "--dataflow_service_options=worker_accelerator=type:nvidia-tesla-p4;count:2;install-nvidia-driver",
        "--resource_hints=accelerator=type:nvidia-tesla-p4;count:2;install-nvidia-driver",
    ],
)
def test_a_gpu_of_beams_own_options_is_one_of_every_machine(own: str) -> None:
    where = SubmitOptions(gpu="nvidia-l4")
    made = options.to_beam(where, "gs://b/out", [own])
    assert options.gpu_of(where, made) == "nvidia-tesla-p4"
    assert options.accelerator_of(where, made) is None


def test_machine_types_to_try() -> None:
    assert types() == ("c3-standard-8", "c4-standard-8")
    assert types(gpu="nvidia-l4") == ("g2-standard-8",)
    assert types(machine_types=("n2-standard-8", "n1-standard-8")) == ("n2-standard-8", "n1-standard-8")
    assert types("--machine_type=e2-standard-8") == ("e2-standard-8",)
    assert types("--machine_type=e2-standard-8", gpu="nvidia-l4") == ("g2-standard-8",)


def test_flexrs_is_beams_own_option() -> None:
    assert beam(flexrs=True).view_as(GoogleCloudOptions).flexrs_goal == "COST_OPTIMIZED"
    assert options.is_flexrs(beam("--flexrs_goal=COST_OPTIMIZED"))
    assert not options.is_flexrs(beam("--flexrs_goal=SPEED_OPTIMIZED", flexrs=True))


@pytest.mark.parametrize(
    ("image", "tagged"),
    [
        ("host:5000/p/beamsight", "host:5000/p/beamsight:1.2-cpu"),
        ("host/p/beamsight:mine", "host/p/beamsight:mine"),
        ("host/p/beamsight@sha256:12", "host/p/beamsight@sha256:12"),
    ],
)
def test_an_image_without_a_tag_is_that_of_this_version(image: str, tagged: str) -> None:
    assert options.tagged(image, "1.2", gpu=False) == tagged


def test_a_bucket_of_ones_own() -> None:
    made = beam(bucket="gs://other/deep", output="s3://b/out")
    assert made.view_as(GoogleCloudOptions).temp_location == "gs://other/deep/beamsight/temp"
    assert options.models_folder(made) == "gs://other/deep/beamsight/models"
    assert options.models_folder(beam(output="s3://b/out")) == ""


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"bucket": "b"}, "--bucket b"),
        ({"job_name": "Mine"}, "--job-name Mine"),
        ({"labels": ("Team=birds",)}, "--label Team=birds"),
        ({"labels": ("team",)}, "--label team"),
        ({"gpu": "h100"}, "--gpu 'h100'.*nvidia-l4"),
        ({"gpu": "nvidia-l4", "machine_types": ("c3-standard-8",)}, "c3-standard-8 cannot have a nvidia-l4.*family g2"),
        ({"machine_types": ("a-1,b-2",)}, "--machine-type a-1,b-2 is not a machine type.*repeat the option"),
        ({"max_cost": 0.0}, "--max-cost 0"),
        ({"workers": 11}, "--workers 11.*--max-workers 10"),
    ],
)
def test_refused(asked: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        SubmitOptions(**asked)
