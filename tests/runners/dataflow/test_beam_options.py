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


def test_defaults_suit_the_job() -> None:
    made = beam(container_image="repository/beamsight")
    cloud, workers, debug = (made.view_as(kind) for kind in (GoogleCloudOptions, WorkerOptions, DebugOptions))
    assert (cloud.temp_location, cloud.staging_location) == ("gs://b/beamsight/temp", "gs://b/beamsight/staging")
    assert (workers.machine_type, workers.disk_size_gb, workers.max_num_workers) == ("c3-standard-8", 50, 10)
    assert (workers.num_workers, workers.use_public_ips) == (None, None)
    assert debug.experiments == ["no_use_multiple_sdk_containers"]
    assert debug.number_of_worker_harness_threads == 2
    assert made.view_as(SetupOptions).sdk_location == "container"
    assert options.gpu_of(made) is None
    assert options.models_folder(made) == "gs://b/beamsight/models"


def test_beams_own_options_go_before() -> None:
    made = beam(
        *("--project=p2", "--temp_location=gs://c/tmp/deep/", "--machine_type=n1-standard-4", "--max_num_workers=3"),
        *("--experiments=use_multiple_sdk_containers", "--labels=a=b", "--num_workers=2"),
        *("--sdk_container_image=mine:1", "--sdk_location=default"),
        machine_type="c3-standard-4",
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
    ("gpu", "machine_type", "disk"),
    [
        ("nvidia-l4", "g2-standard-8", "pd-ssd"),
        ("nvidia-tesla-t4", "n1-standard-8", None),
        ("nvidia-tesla-a100", "a2-highgpu-1g", None),
    ],
)
def test_a_gpu_comes_with_its_machine(gpu: str, machine_type: str, disk: str | None) -> None:
    made = beam(gpu=gpu, container_image="repository/beamsight")
    workers = made.view_as(WorkerOptions)
    assert (workers.machine_type, workers.disk_size_gb) == (machine_type, 100)
    assert (workers.disk_type or "").endswith(disk or "")
    assert workers.sdk_container_image.endswith("-gpu")
    assert options.gpu_of(made) == gpu


def test_a_gpu_of_beams_own_options_counts() -> None:
    service = "--dataflow_service_options=worker_accelerator=type:nvidia-tesla-p4;count:2;install-nvidia-driver"
    made = beam(service, gpu="nvidia-l4")
    assert options.gpu_of(made) == "nvidia-tesla-p4"
    assert len(made.view_as(GoogleCloudOptions).dataflow_service_options) == 1


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
        ({"gpu": "nvidia-l4", "machine_type": "c3-standard-8"}, "c3-standard-8 cannot have a nvidia-l4.*family g2"),
        ({"workers": 11}, "--workers 11.*--max-workers 10"),
    ],
)
def test_refused(asked: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        SubmitOptions(**asked)
