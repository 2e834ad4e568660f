"""What a job on Dataflow costs, as the loopback server sees it: FlexRS, other machine types, and the maximum cost."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from dataflow_server import DataflowServer
from gcs_server import Bucket

from runners.cli import app, codes
from runners.dataflow import stockout
from transforms.imaging import drawn

PLACE = ["--project=test-project", "--region=europe-west4", "--container-image=repository/beamsight"]
STOCKOUT = (
    "Startup of the worker pool in europe-west4 failed to bring up any of the desired 1 workers. Please refer to "
    "https://cloud.google.com/dataflow/docs/guides/common-errors#worker-pool-failure for help troubleshooting. "
    "ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS: Instance 'x' creation failed: The zone 'projects/p/zones/z' "
    "does not have enough resources available to fulfill the request.  '(resource type:compute)'."
)


@pytest.fixture
def dataflow() -> Iterator[DataflowServer]:
    with DataflowServer() as server:
        yield server


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runners.dataflow.watch.LOOK_SECONDS", 0.1)
    monkeypatch.setattr("runners.dataflow.watch.COST_SECONDS", 0.1)
    monkeypatch.setattr("runners.dataflow.watch.PIPE_SECONDS", 0.2)


@pytest.fixture
def command(bucket: Bucket, dataflow: DataflowServer, tiny_classifier: str) -> list[str]:
    for number in range(3):
        bucket.put(f"in/{number}.jpg", drawn.encode(drawn.draw(number, 40, 40)))
    return [
        *("submit", "--images", bucket.uri("in/*.jpg"), "--output", bucket.uri("out"), *PLACE),
        *("--classifier", tiny_classifier, "--embedder", "none", f"--dataflow_endpoint={dataflow.url}"),
    ]


def reports(bucket: Bucket) -> list[dict[str, Any]]:
    return [json.loads(bucket.get(name)) for name in bucket.names() if name.startswith("out/runs/")]


def machine_types(dataflow: DataflowServer) -> list[str]:
    return [job["environment"]["workerPools"][0]["machineType"] for job in dataflow.created.values()]


def test_a_flexrs_job_is_queued(
    dataflow: DataflowServer, bucket: Bucket, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    dataflow.states = ["JOB_STATE_QUEUED"]
    assert app.main([*command, "--flexrs"]) == codes.DONE
    assert dataflow.job["environment"]["flexResourceSchedulingGoal"] in (2, "FLEXRS_COST_OPTIMIZED")
    assert "state: queued, starts by 20" in capsys.readouterr().out
    assert [report["state"] for report in reports(bucket)] == ["queued"]
    assert app.main([*command, "--flexrs"]) == codes.LOCKED
    assert "; the job is queued and has not started yet; try again when it has ended" in capsys.readouterr().err


def test_a_watched_job_waits_in_the_queue(
    dataflow: DataflowServer, bucket: Bucket, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    def starts() -> None:
        states.append(reports(bucket)[0]["state"])

    states: list[str] = []
    dataflow.at_first_look = starts
    dataflow.states = [*["JOB_STATE_QUEUED"] * 5, "JOB_STATE_CANCELLED"]
    assert app.main([*command, "--flexrs", "--wait"]) == codes.RUN_FAILED
    said = capsys.readouterr().err
    assert states == ["queued"]
    assert said.count("queued, starts by 20") == 2  # once with the job, and once as its progress
    assert "the job 2026-01-02_03_04_05-1 was cancelled" in said


def test_the_report_of_a_queued_job_that_starts_says_running(
    dataflow: DataflowServer, bucket: Bucket, command: list[str]
) -> None:
    dataflow.states = [*["JOB_STATE_QUEUED"] * 4, *["JOB_STATE_RUNNING"] * 2, "JOB_STATE_DONE"]
    assert app.main([*command, "--flexrs", "--wait", "--quiet"]) == codes.DONE
    assert [report["state"] for report in reports(bucket)] == ["running"]


def test_the_next_machine_type_is_tried(
    dataflow: DataflowServer, bucket: Bucket, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    def accept() -> None:
        if len(dataflow.created) == 1:
            dataflow.fail(STOCKOUT, "Workflow failed.")
        else:
            dataflow.states = ["JOB_STATE_DONE"]

    dataflow.after_create = accept
    assert app.main([*command, "--wait"]) == codes.DONE
    assert machine_types(dataflow) == ["c3-standard-8", "c4-standard-8"]
    disks = [job["environment"]["workerPools"][0]["diskType"] for job in dataflow.created.values()]
    assert [disk.rpartition("/")[2] for disk in disks] == ["pd-ssd", "hyperdisk-balanced"]
    assert "europe-west4 has no machines of the type c3-standard-8; trying c4-standard-8" in capsys.readouterr().err
    first, second = reports(bucket)
    assert first["run_id"] != second["run_id"]
    assert (first["state"], first["error"]) == ("failed", "europe-west4 has no machines of the type c3-standard-8")


def test_the_last_machine_type_is_the_end(
    dataflow: DataflowServer, bucket: Bucket, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    dataflow.fail(STOCKOUT)
    types = ["--gpu", "nvidia-l4", "--machine-type", "g2-standard-8", "--machine-type", "g2-standard-16"]
    assert app.main([*command, *types, "--wait"]) == codes.RUN_FAILED
    assert machine_types(dataflow) == ["c3-standard-8"] * 2  # of the steps without a GPU
    assert "the run failed: europe-west4 has no machines of the type g2-standard-16" in capsys.readouterr().err
    assert "out/lock.json" not in bucket.names()


def test_another_failure_is_the_end(
    dataflow: DataflowServer, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    dataflow.fail("QUOTA_EXCEEDED: Instance 'x' creation failed: Quota 'C3_CPUS' exceeded.  Limit: 8.0")
    assert app.main([*command, "--wait"]) == codes.RUN_FAILED
    assert len(dataflow.created) == 1
    assert "Quota 'C3_CPUS' exceeded" in capsys.readouterr().err


def test_a_run_after_a_job_without_machines_takes_the_next_type(
    dataflow: DataflowServer, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert app.main(command) == codes.DONE
    dataflow.fail(STOCKOUT)
    assert app.main(command) == codes.DONE
    assert machine_types(dataflow) == ["c3-standard-8", "c4-standard-8"]
    assert "the job before found no machines of its type; trying c4-standard-8" in capsys.readouterr().err
    dataflow.fail("transforms.errors.ModelError: damaged")
    assert app.main(command) == codes.DONE
    assert machine_types(dataflow)[2] == "c3-standard-8"


@pytest.mark.parametrize(
    ("message", "is_one"),
    [
        (STOCKOUT, True),
        (STOCKOUT.replace("_WITH_DETAILS", ""), True),
        (STOCKOUT.replace("any of the desired 1 workers", "2 of the desired 5 workers"), False),
        (STOCKOUT.replace("ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS: ", "QUOTA_EXCEEDED: ")[:240], False),
        ("Workflow failed.", False),
    ],
)
def test_stockouts_are_told_from_other_failures(message: str, is_one: bool) -> None:
    assert stockout.is_stockout(["Workflow failed.", message]) is is_one


def test_an_estimate_above_the_maximum_sends_nothing(
    dataflow: DataflowServer, bucket: Bucket, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    figures = ["--images-per-second", "0.001", "--machine-price", "1"]
    assert app.main([*command, "--max-cost", "0.5", *figures]) == codes.WRONG_USE
    said = capsys.readouterr().err
    assert "--max-cost 0.5: the estimate is 1.08 USD for 3 images; raise --max-cost" in said
    assert not dataflow.created
    assert "out/lock.json" not in bucket.names()
    assert app.main([*command, "--max-cost", "2", *figures]) == codes.DONE


def test_images_that_the_tables_have_cost_nothing(
    dataflow: DataflowServer, bucket: Bucket, command: list[str], tiny_classifier: str
) -> None:
    done = ["--images", bucket.uri("in/*.jpg"), "--output", bucket.uri("out"), "--embedder", "none", "--quiet"]
    assert app.main(["run", *done, "--classifier", tiny_classifier]) == codes.DONE
    figures = ["--images-per-second", "0.001", "--machine-price", "1"]
    assert app.main([*command, "--max-cost", "0.01", *figures]) == codes.DONE
    assert len(dataflow.created) == 1


def test_an_unknown_estimate_needs_a_watcher(
    dataflow: DataflowServer, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert app.main([*command, "--max-cost", "5"]) == codes.WRONG_USE
    assert "the cost is unknown; pass --images-per-second, or --wait" in capsys.readouterr().err
    dataflow.states = ["JOB_STATE_DONE"]
    assert app.main([*command, "--max-cost", "5", "--wait"]) == codes.DONE
    assert "no estimate without --images-per-second" in capsys.readouterr().err


def test_a_job_that_costs_too_much_is_cancelled(
    dataflow: DataflowServer, bucket: Bucket, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    dataflow.use(TotalVcpuTime=800 * 3600, TotalMemoryUsage=3200 * 3600 * 1000, TotalSsdUsage=5000 * 3600)
    dataflow.count("images_done", 200)
    assert app.main([*command, "--max-cost", "50", "--wait"]) == codes.RUN_FAILED
    said = capsys.readouterr().err
    cost = 800 * 0.056 + 3200 * 0.003557 + 5000 * 0.000298
    assert f"it has cost about {cost:.2f} USD, more than --max-cost 50" in said
    assert "finished images are kept; the same command continues from there" in said
    assert [str(state) for state in dataflow.asked_for] in (["4"], ["5"], ["JOB_STATE_CANCELLED"])
    (report,) = reports(bucket)
    assert (report["state"], report["counts"]["images"]) == ("failed", 200)
    assert "out/lock.json" not in bucket.names()


def test_a_job_within_its_maximum_goes_on(dataflow: DataflowServer, command: list[str]) -> None:
    dataflow.use(TotalVcpuTime=800 * 3600)
    dataflow.states = [*["JOB_STATE_RUNNING"] * 3, "JOB_STATE_DONE"]
    assert app.main([*command, "--max-cost", "50", "--wait", "--quiet"]) == codes.DONE
    assert not dataflow.asked_for


def test_the_cost_of_a_flexrs_job_and_of_a_gpu(
    dataflow: DataflowServer, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    dataflow.use(TotalVcpuTime=800 * 3600, TotalGpuTime=10 * 3600)
    assert app.main([*command, "--max-cost", "20", "--wait", "--flexrs", "--machine-type=n2-standard-8"]) == 3
    assert f"about {800 * 0.0336:.2f} USD" in capsys.readouterr().err
    dataflow.states = ["JOB_STATE_RUNNING"]
    assert app.main([*command, "--max-cost", "20", "--wait", "--gpu", "nvidia-l4"]) == codes.RUN_FAILED
    assert f"about {800 * 0.056 + 10 * 0.672:.2f} USD" in capsys.readouterr().err


def test_a_gpu_without_a_price_needs_one(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    wanted = [*command, "--max-cost", "20", "--wait", "--gpu", "nvidia-h100-80gb"]
    assert app.main(wanted) == codes.WRONG_USE
    assert "the price of a nvidia-h100-80gb is unknown; pass --machine-price" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["--gpu", "nvidia-l4"], "--flexrs excludes a GPU such as the nvidia-l4; leave out --gpu, or --flexrs"),
        (["--streaming"], "--flexrs is for batch jobs; leave out --streaming"),
        (["--autoscaling_algorithm=NONE"], "--flexrs excludes --autoscaling_algorithm=NONE"),
        (["--worker_zone=europe-west4-a"], "--flexrs excludes --worker_zone=europe-west4-a"),
        (["--dataflow_service_options=enable_prime"], "--flexrs excludes enable_prime"),
        (["--resource_hints=min_ram=8GB"], "--flexrs excludes --resource_hints min_ram=8GB"),
        (["--machine-type=h3-standard-88"], "--flexrs has no machines of the type h3-standard-88"),
    ],
)
def test_what_flexrs_excludes(
    given: list[str], words: str, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    for dry_run in ([], ["--dry-run"]):
        assert app.main([*command, "--flexrs", *given, *dry_run]) == codes.WRONG_USE
        assert words in capsys.readouterr().err


def test_the_dry_run_shows_price_start_and_limit(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main([*command, "--dry-run"]) == codes.DONE
    assert f"machine price    {8 * 0.056 + 32 * 0.003557 + 50 * 0.000298:.3f} USD" in capsys.readouterr().out
    limits = ["--flexrs", "--max-cost", "0.01", "--images-per-second", "1"]
    assert app.main([*command, "--dry-run", *limits]) == codes.DONE
    said = capsys.readouterr().out
    assert f"machine price    {8 * 0.0336 + 32 * 0.0021342 + 50 * 0.000298:.3f} USD" in said
    assert "start            chosen by Dataflow; queued, starts by 20" in said
    assert "max cost         0.01 USD, less than the estimate" in said
    assert app.main([*command, "--dry-run", "--gpu", "nvidia-l4", "--engine", "openvino"]) == codes.DONE
    assert "other steps      c3-standard-8, without a GPU" in capsys.readouterr().out
