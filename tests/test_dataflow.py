"""The job by its command on Dataflow: what is sent, over HTTP, and what the sent pipeline does when it is run."""

from __future__ import annotations

import _thread
import dataclasses
import io
import json
import re
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import apache_beam as beam
import pytest
import tables
from apache_beam.metrics import MetricsFilter
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.runners.portability.stager import Stager
from apache_beam.transforms.environments import EmbeddedPythonEnvironment
from dataflow_server import DataflowServer
from gcs_server import Bucket, GcsServer

from pipelines import catalog
from runners.cli import app, codes
from runners.dataflow import job_state, submit
from runners.dataflow.submit_options import SubmitOptions
from runners.jobs.ending import RunFailed
from runners.jobs.options import RunOptions
from runners.lock import cleanup
from runners.lock.holder import Holder
from transforms.imaging import drawn

PLACE = ["--project=test-project", "--region=europe-west4"]
IMAGE = "europe-west4-docker.example/test-project/beamsight"
BROKEN = b"no picture"
PICTURES = {f"in/{number}.jpg": drawn.encode(drawn.draw(number, 90 + number, 60)) for number in range(7)}


@pytest.fixture
def dataflow() -> Iterator[DataflowServer]:
    with DataflowServer() as server:
        yield server


@pytest.fixture(autouse=True)
def no_freeze(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each job would be sent with what ``pip freeze`` says, which takes a second."""
    monkeypatch.setattr(Stager, "_create_stage_submission_env_dependencies", lambda _: [])


@pytest.fixture
def small_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    """A job of one step, for what does not depend on its steps. To build all of them takes seconds."""
    monkeypatch.setattr(catalog, "build", lambda pipeline, *_: pipeline | beam.Impulse())


@pytest.fixture
def pictures(bucket: Bucket) -> Bucket:
    for name, data in PICTURES.items():
        bucket.put(name, data)
    bucket.put("in/broken.jpg", BROKEN)
    return bucket


@pytest.fixture
def job(pictures: Bucket, tiny_classifier: str, tiny_embedder: str) -> list[str]:
    """What is to be done, with models on this disk."""
    return [
        *("--images", pictures.uri("in/*.jpg"), "--output", pictures.uri("out")),
        *("--classifier", tiny_classifier, "--embedder", tiny_embedder, "--unit-size", "3", "--max-failures", "100%"),
    ]


def staged_pipeline(bucket: Bucket, options: dict[str, Any]) -> beam_runner_api_pb2.Pipeline:
    name = options["pipelineUrl"].removeprefix(f"gs://{bucket.name}/")
    return beam_runner_api_pb2.Pipeline.FromString(bucket.get(name))


def run_it(pipeline: beam_runner_api_pb2.Pipeline) -> dict[str, Any]:
    """Run a pipeline as it was staged, in this process instead of the image that it names -> its metrics by name."""
    here = EmbeddedPythonEnvironment.default().to_runner_api(None)
    for environment in pipeline.components.environments.values():
        environment.CopyFrom(here)
        del environment.dependencies[:]
    result = FnApiRunner().run_via_runner_api(pipeline, PipelineOptions())
    result.wait_until_finish()
    found = result.metrics().query(MetricsFilter().with_namespace("beamsight"))
    return {each.key.metric.name: each.committed for each in (*found["counters"], *found["distributions"])}


def require_job_is_named(output: str) -> None:
    assert "job: 2026-01-02_03_04_05-1\n" in output
    assert "dataflow/jobs/europe-west4/2026-01-02_03_04_05-1?project=test-project" in output


def require_requested_job(sent: dict[str, Any]) -> None:
    environment = sent["environment"]
    assert (sent["name"], sent["labels"]) == ("first", {"beamsight": "0-1-0", "team": "birds"})
    assert environment["serviceAccountEmail"] == "worker@test-project.iam"
    assert "no_use_multiple_sdk_containers" in environment["experiments"]
    assert "use_multiple_sdk_containers" not in environment["experiments"]


def require_requested_machines(environment: dict[str, Any]) -> None:
    (pool,) = environment["workerPools"]
    expected = {"machineType": "c3-standard-8", "diskSizeGb": 50, "numThreadsPerWorker": 2, "numWorkers": 2}
    expected |= {"network": "net", "subnetwork": "regions/europe-west4/subnetworks/sub"}
    assert {name: pool[name] for name in expected} == expected
    assert pool["autoscalingSettings"]["maxNumWorkers"] == 4
    assert pool["diskType"].endswith("/pd-ssd")
    assert pool["ipConfiguration"] in (2, "WORKER_IP_PRIVATE")
    assert pool["sdkHarnessContainerImages"][0]["containerImage"] == f"{IMAGE}:0.1.0-cpu"


def require_staged_options(options: dict[str, Any], bucket: Bucket) -> None:
    assert options["sdk_location"] == "container"
    assert options["temp_location"].startswith(bucket.uri("beamsight/temp/first."))


def require_image_and_steps(pipeline: beam_runner_api_pb2.Pipeline) -> None:
    images = {
        beam_runner_api_pb2.DockerPayload.FromString(each.payload).container_image
        for each in pipeline.components.environments.values()
    }
    assert images == {f"{IMAGE}:0.1.0-cpu"}
    labels = {transform.unique_name for transform in pipeline.components.transforms.values()}
    steps = {name for name in labels if "/" not in name and "AppliedPTransform" not in name}
    assert steps == {"Prepare", "Missing", "Units", "Process", "Publish", "Report"}


def require_metrics(metrics: dict[str, Any]) -> None:
    expected = {"images_listed": 8, "images_to_do": 8, "images_done": 8, "failed_in_decode": 1}
    expected |= {"failed_decode_NotAnImage": 1, "rows_predictions": 7, "rows_embeddings": 7}
    expected |= {"bytes_fetched": sum(map(len, PICTURES.values())) + len(BROKEN)}
    assert {name: metrics[name] for name in expected} == expected
    assert (metrics["fetch_ms"].count, metrics["decode_ms"].count) == (8, 8)
    for task in ("classify", "embed"):
        assert metrics[f"{task}_batch_size"].sum == 7
        assert metrics[f"{task}_ms"].count == metrics[f"{task}_batch_size"].count


def require_report_agrees(report: dict[str, Any], metrics: dict[str, Any]) -> None:
    assert (report["state"], report["counts"]["failed"]) == ("done", {"decode": 1})
    assert report["counts"]["units"] == metrics["units_done"] >= 1


def read_report(bucket: Bucket, run_id: str) -> dict[str, Any]:
    report: dict[str, Any] = json.loads(bucket.get(f"out/runs/{run_id}.json"))
    return report


def read_tables(bucket: Bucket, scratch: Path) -> dict[str, tables.Rows]:
    return {table: tables.rows(bucket, table, scratch) for table in ("predictions", "embeddings", "failures")}


def without_runs(rows: dict[str, tables.Rows]) -> dict[str, tables.Rows]:
    return {table: without_run(found) for table, found in rows.items()}


def test_a_job_is_sent_and_does_what_a_local_run_does(
    dataflow: DataflowServer, pictures: Bucket, job: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [
        *("submit", *job, *PLACE, f"--dataflow_endpoint={dataflow.url}", "--container-image", IMAGE),
        *("--label", "team=birds", "--network", "net", "--subnetwork", "regions/europe-west4/subnetworks/sub"),
        *("--service-account", "worker@test-project.iam", "--no-public-ips", "--workers", "2", "--max-workers", "4"),
        *("--job-name", "first"),
    ]
    assert app.main(command) == codes.DONE

    out, err = capsys.readouterr()
    assert err == ""
    require_job_is_named(out)
    require_requested_job(dataflow.job)
    require_requested_machines(dataflow.job["environment"])
    options = dataflow.job["environment"]["sdkPipelineOptions"]["options"]
    require_staged_options(options, pictures)

    run_id = re.findall(r"out/runs/(\S+)\.json", out)[0]
    assert read_report(pictures, run_id)["state"] == "running"
    pipeline = staged_pipeline(pictures, options)
    require_image_and_steps(pipeline)
    metrics = run_it(pipeline)
    require_metrics(metrics)
    require_report_agrees(read_report(pictures, run_id), metrics)
    rows = read_tables(pictures, tmp_path)
    assert {table: len(found) for table, found in rows.items()} == {"predictions": 7, "embeddings": 7, "failures": 1}

    for name in pictures.names():
        if name.startswith("out/"):
            pictures.delete(name)
    assert app.main(["run", *job]) == codes.DONE
    assert without_runs(read_tables(pictures, tmp_path)) == without_runs(rows)


def without_run(rows: tables.Rows) -> tables.Rows:
    return [{key: value for key, value in row.items() if key not in ("run_id", "failed_at")} for row in rows]


def test_run_takes_beams_own_options_and_watches(
    dataflow: DataflowServer, pictures: Bucket, job: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    def finish() -> None:  # what workers and Dataflow do meanwhile
        run_it(staged_pipeline(pictures, dataflow.job["environment"]["sdkPipelineOptions"]["options"]))
        dataflow.states = ["JOB_STATE_DONE"]

    dataflow.at_first_look = finish
    command = [
        *("run", *job, "--runner=DataflowRunner", *PLACE, f"--dataflow_endpoint={dataflow.url}"),
        *(f"--temp_location={pictures.uri('tmp')}", f"--sdk_container_image={IMAGE}:mine"),
        *("--machine_type=n2-standard-16", "--num_workers=12", "--disk_size_gb=30"),
        *("--number_of_worker_harness_threads=1", "--max-failures", "0"),
    ]
    assert app.main(command) == codes.TOO_MANY_FAILURES

    environment = dataflow.job["environment"]
    (pool,) = environment["workerPools"]
    assert (pool["machineType"], pool["diskSizeGb"], pool["numThreadsPerWorker"]) == ("n2-standard-16", 30, 1)
    assert "diskType" not in pool
    assert (pool["numWorkers"], pool["autoscalingSettings"]["maxNumWorkers"]) == (12, 12)
    assert pool["sdkHarnessContainerImages"][0]["containerImage"] == f"{IMAGE}:mine"
    assert "no_use_multiple_sdk_containers" in environment["experiments"]
    assert [name for name in pictures.names() if name.startswith("beamsight/models/tiny-") and "model.json" in name]
    said = capsys.readouterr()
    assert "done: 8 images" in said.out
    assert "1 decode: NotAnImage" in said.out
    assert "1 of 8 images failed" in said.err


def test_a_night_is_sent_by_its_file_of_options(
    dataflow: DataflowServer,
    pictures: Bucket,
    tiny_classifier: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for number, day in enumerate(("2026-01-01", "2026-01-02")):
        pictures.put(f"days/{day}/a.jpg", PICTURES[f"in/{number}.jpg"])
    file = tmp_path / "beamsight.toml"
    text = f"""
    images = "{pictures.uri("days")}/{{yesterday}}/*.jpg"
    output = "{pictures.uri("out")}"
    classifier = "{tiny_classifier}"
    embedder = "none"
    project = "my-project"
    region = "europe-west4"
    container-image = "{IMAGE}:mine"
    [beam]
    runner = "DataflowRunner"
    dataflow_endpoint = "{dataflow.url}"
    """
    file.write_text(text, encoding="utf-8")
    night = ["nightly", "--config", str(file)]

    def finish() -> None:
        run_it(staged_pipeline(pictures, dataflow.job["environment"]["sdkPipelineOptions"]["options"]))
        dataflow.states = ["JOB_STATE_DONE"]

    dataflow.at_first_look = finish
    assert app.main([*night, "--date", "2026-01-02", "--wait"]) == codes.DONE
    assert "done: 1 image" in capsys.readouterr().out
    assert app.main([*night, "--date", "2026-01-03", "--dry-run"]) == codes.DONE
    assert f"{pictures.uri('days')}/2026-01-02/*.jpg" in capsys.readouterr().out
    reports = [json.loads(pictures.get(name)) for name in pictures.names() if name.startswith("out/runs/")]
    assert [report["options"]["night"]["days"] for report in reports] == [["2026-01-02"]]
    (row,) = tables.rows(pictures, "predictions", tmp_path)
    assert row["uri"] == pictures.uri("days/2026-01-01/a.jpg")


@pytest.mark.usefixtures("small_graph")
def test_the_counters_of_the_job_are_shown_while_it_is_watched(
    dataflow: DataflowServer, pictures: Bucket, job: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"images_to_do": 800, "images_done": 200, "failed_in_decode": 3, "units_done": 1}.items():
        dataflow.count(name, value)
    dataflow.measure("decode_ms", count=200, sum=6000, min=20, max=90)
    monkeypatch.setattr("runners.dataflow.watch.PIPE_SECONDS", 0.5)
    stream = io.StringIO()
    dataflow.states = [*["JOB_STATE_RUNNING"] * 3, "JOB_STATE_CANCELLED"]
    with pytest.raises(RunFailed, match=r"the job 2026.*-1 was cancelled"):
        watched(job, dataflow, stream)
    assert "200 of 800 images" in stream.getvalue()
    assert "3 failures" in stream.getvalue()
    report = the_report(pictures)
    assert (report["state"], report["counts"]["images"]) == ("failed", 200)
    assert report["counts"]["failed"] == {"decode": 3}


@pytest.mark.usefixtures("small_graph")
def test_a_job_that_fails_is_a_run_that_failed(
    dataflow: DataflowServer, pictures: Bucket, job: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    why = "Traceback (most recent call last):\n  File a\ntransforms.errors.ModelError: bundle gs://b/m lacks f32.bin"
    dataflow.states = ["JOB_STATE_RUNNING", "JOB_STATE_FAILED"]
    dataflow.messages = [
        {"id": "1", "time": "2026-01-02T03:04:05Z", "messageImportance": "JOB_MESSAGE_ERROR", "messageText": why}
    ]
    command = ["submit", *job, *PLACE, f"--dataflow_endpoint={dataflow.url}", "--container-image", IMAGE, "--wait"]
    assert app.main(command) == codes.RUN_FAILED
    assert "the run failed: bundle gs://b/m lacks f32.bin\n" in capsys.readouterr().err
    assert (the_report(pictures)["state"], the_report(pictures)["error"]) == ("failed", "bundle gs://b/m lacks f32.bin")


@pytest.mark.usefixtures("small_graph")
def test_interrupting_the_command_leaves_the_job_alone(
    dataflow: DataflowServer, pictures: Bucket, job: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    dataflow.at_first_look = _thread.interrupt_main
    command = ["submit", *job, *PLACE, f"--dataflow_endpoint={dataflow.url}", "--container-image", IMAGE, "--wait"]
    assert app.main(command) == codes.INTERRUPTED
    said = capsys.readouterr().err
    assert "stopped watching. The job 2026-01-02_03_04_05-1 continues" in said
    assert "gcloud dataflow jobs cancel 2026-01-02_03_04_05-1 --region europe-west4" in said
    assert the_report(pictures)["state"] == "running"


@pytest.mark.usefixtures("small_graph")
def test_a_watcher_that_loses_contact_leaves_the_lock_with_the_job(
    dataflow: DataflowServer, pictures: Bucket, job: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    dataflow.looks = [403] * 9
    command = ["submit", *job, *PLACE, f"--dataflow_endpoint={dataflow.url}", "--container-image", IMAGE, "--wait"]
    assert app.main(command) == codes.RUN_FAILED
    assert "cannot watch the job 2026-01-02_03_04_05-1 any longer" in capsys.readouterr().err
    assert the_report(pictures)["state"] == "running"
    assert json.loads(pictures.get("out/lock.json"))["job"]["id"] == "2026-01-02_03_04_05-1"


@pytest.mark.usefixtures("small_graph")
def test_a_watcher_goes_on_after_a_fault(
    dataflow: DataflowServer, pictures: Bucket, job: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runners.dataflow.watch.LOOK_SECONDS", 0.1)
    dataflow.looks = [403]
    dataflow.states = [*["JOB_STATE_RUNNING"] * 2, "JOB_STATE_CANCELLED"]
    with pytest.raises(RunFailed, match=r"the job 2026.*-1 was cancelled"):
        watched(job, dataflow, io.StringIO())
    assert "out/lock.json" not in pictures.names()


@pytest.mark.usefixtures("small_graph")
def test_an_interruption_after_the_job_was_created_leaves_the_lock_with_the_job(
    dataflow: DataflowServer, pictures: Bucket, job: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    dataflow.after_create = _thread.interrupt_main
    command = ["submit", *job, *PLACE, f"--dataflow_endpoint={dataflow.url}", "--container-image", IMAGE]
    assert app.main(command) == codes.INTERRUPTED
    assert "The job 2026-01-02_03_04_05-1 continues. To cancel it: gcloud" in capsys.readouterr().err
    assert json.loads(pictures.get("out/lock.json"))["job"]["id"] == "2026-01-02_03_04_05-1"


@pytest.mark.usefixtures("small_graph")
def test_an_interruption_before_the_job_is_created_sends_none(
    gcs: GcsServer,
    dataflow: DataflowServer,
    pictures: Bucket,
    job: list[str],
) -> None:
    def interrupt(method: str, _: str) -> None:
        if method == "POST" and any(name.startswith("out/runs/") for name in pictures.names()):  # files are staged
            gcs.faults = None
            _thread.interrupt_main()
            end = time.monotonic() + 60
            while the_report(pictures)["state"] == "running" and time.monotonic() < end:
                time.sleep(0.01)  # until the command has noticed

    gcs.faults = interrupt
    command = ["submit", *job, *PLACE, f"--dataflow_endpoint={dataflow.url}", "--container-image", IMAGE]
    assert app.main(command) == codes.INTERRUPTED
    assert not dataflow.created
    assert "out/lock.json" not in pictures.names()
    assert the_report(pictures)["state"] == "interrupted"


@pytest.mark.usefixtures("small_graph")
def test_a_job_whose_answer_is_lost_is_found_by_its_name(
    dataflow: DataflowServer,
    pictures: Bucket,
    job: list[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def break_connection() -> None:
        named.append(json.loads(pictures.get("out/lock.json"))["job"])
        raise ConnectionError

    named: list[dict[str, str]] = []
    monkeypatch.setattr("apache_beam.utils.retry.Clock.sleep", lambda *_: None)
    dataflow.after_create = break_connection
    command = ["submit", *job, *PLACE, f"--dataflow_endpoint={dataflow.url}", "--container-image", IMAGE]
    assert app.main([*command, "--job-name", "first"]) == codes.RUN_FAILED
    assert "The job 2026-01-02_03_04_05-1 continues" in capsys.readouterr().err
    place = {"project": "test-project", "region": "europe-west4", "name": "first", "machine_type": "c3-standard-8"}
    assert named[0] == {**place, "state": "pending"}  # before the job existed
    assert json.loads(pictures.get("out/lock.json"))["job"] == {**place, "id": "2026-01-02_03_04_05-1"}


@pytest.mark.usefixtures("small_graph")
def test_a_job_that_dataflow_refuses(
    dataflow: DataflowServer, pictures: Bucket, job: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    dataflow.refusal = (403, "The caller does not have permission")
    command = ["submit", *job, *PLACE, f"--dataflow_endpoint={dataflow.url}", "--container-image", IMAGE]
    assert app.main(command) == codes.WRONG_USE
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "The caller does not have permission" in said
    assert "enable the Dataflow API in test-project" in said
    assert the_report(pictures)["state"] == "failed"


def test_a_job_has_the_output_to_itself_until_it_ends(
    dataflow: DataflowServer, pictures: Bucket, job: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    endpoint = f"--dataflow_endpoint={dataflow.url}"
    command = ["submit", *job, *PLACE, endpoint, "--container-image", IMAGE, "--job-name", "first"]
    assert app.main(command) == codes.DONE
    assert json.loads(pictures.get("out/lock.json"))["job"] == {
        "project": "test-project",
        "region": "europe-west4",
        "name": "first",
        "machine_type": "c3-standard-8",
        "id": "2026-01-02_03_04_05-1",
    }
    capsys.readouterr()
    for second in (command, ["run", *job, endpoint]):
        assert app.main(second) == codes.LOCKED
        assert "beamsight submit, run 2" in (said := capsys.readouterr().err)
        assert "job 2026-01-02_03_04_05-1) since" in said
    assert app.main(["run", *job, "--dataflow_endpoint=http://localhost:9"]) == codes.LOCKED
    assert (
        f"cannot check whether this job still runs. If it has ended, delete {pictures.uri('out/lock.json')}"
        in capsys.readouterr().err
    )

    run_it(staged_pipeline(pictures, dataflow.job["environment"]["sdkPipelineOptions"]["options"]))
    assert "out/lock.json" not in pictures.names()
    assert the_report(pictures)["state"] == "done"


def test_a_job_that_failed_while_nobody_waited_holds_up_nobody(
    dataflow: DataflowServer, pictures: Bucket, job: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    endpoint = f"--dataflow_endpoint={dataflow.url}"
    assert app.main(["submit", *job, *PLACE, endpoint, "--container-image", IMAGE]) == codes.DONE
    failed = the_report(pictures)["run_id"]
    dataflow.states = ["JOB_STATE_FAILED"]
    assert app.main(["run", *job, endpoint]) == codes.DONE
    assert "which ended without releasing" in capsys.readouterr().err
    assert "out/lock.json" not in pictures.names()
    closed = json.loads(pictures.get(f"out/runs/{failed}.json"))
    assert (closed["state"], closed["error"]) == ("failed", cleanup.KILLED)


@pytest.mark.usefixtures("small_graph")
@pytest.mark.parametrize(("minutes", "runs"), [(-5, True), (5, False)])
def test_a_job_of_a_template_is_found_by_its_name(
    minutes: int, runs: bool, dataflow: DataflowServer, pictures: Bucket, job: list[str]
) -> None:
    command = ["submit", *job, *PLACE, f"--dataflow_endpoint={dataflow.url}", "--container-image", IMAGE]
    assert app.main([*command, "--job-name", "nightly"]) == codes.DONE
    created = datetime.now(timezone.utc) + timedelta(minutes=minutes)  # a later one is another night's, and asks itself
    dataflow.times = dict.fromkeys(dataflow.times, f"{created:%Y-%m-%dT%H:%M:%SZ}")
    job_ = {"project": "test-project", "region": "europe-west4", "name": "nightly"}
    holder = Holder(since=f"{datetime.now(timezone.utc):%Y-%m-%d %H:%M:%S} UTC", job=job_)
    assert job_state.still_runs(holder, dataflow.url) is runs
    assert job_state.still_runs(dataclasses.replace(holder, job=job_ | {"name": "other"}), dataflow.url) is False
    dataflow.states = ["JOB_STATE_FAILED"]
    assert job_state.still_runs(holder, dataflow.url) is False
    assert job_state.still_runs(holder, "http://localhost:9") is None


def test_nobody_stays_to_post_a_report(job: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    hook = ["--on-finish", "https://hooks.example/s3cret"]
    assert app.main(["submit", *job, *PLACE, "--container-image", IMAGE, *hook]) == codes.WRONG_USE
    said = capsys.readouterr().err
    assert "--on-finish needs --wait" in said
    assert "s3cret" not in said


def test_a_gpu_is_for_the_step_that_runs_the_models(dataflow: DataflowServer, pictures: Bucket, job: list[str]) -> None:
    command = ["submit", *job, *PLACE, f"--dataflow_endpoint={dataflow.url}", "--container-image", IMAGE]
    assert app.main([*command, "--gpu", "nvidia-l4"]) == codes.DONE
    environment = dataflow.job["environment"]
    (pool,) = environment["workerPools"]
    assert "serviceOptions" not in environment
    assert (pool["machineType"], pool["diskSizeGb"]) == ("c3-standard-8", 100)
    images = {each["containerImage"] for each in pool["sdkHarnessContainerImages"]}
    assert images == {f"{IMAGE}:0.1.0-gpu"}
    report = the_report(pictures)
    assert {model["engine"] for model in report["models"].values()} == {"tensorflow"}
    assert report["options"]["batch_size"] == 32

    pipeline = staged_pipeline(pictures, environment["sdkPipelineOptions"]["options"])
    hints = {
        transform.unique_name: dict(pipeline.components.environments[transform.environment_id].resource_hints)
        for transform in pipeline.components.transforms.values()
        if transform.environment_id
    }
    fitted = {name: hint for name, hint in hints.items() if hint}
    hint = b"type:nvidia-l4;count:1;machine_type:g2-standard-8;install-nvidia-driver:5xx"
    assert fitted
    assert {name.split("/")[0] for name in fitted} == {"Process"}
    assert list(fitted.values()) == [{"beam:resources:accelerator:v1": hint}] * len(fitted)


def test_beams_own_checks_pass_without_an_endpoint(
    gcs: GcsServer, pictures: Bucket, job: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["submit", *job, *PLACE, "--container-image", IMAGE, "--dry_run=true"]
    assert app.main(command) == codes.DONE
    assert capsys.readouterr().out.endswith("Beam's checks    passed\n\nThe job was not sent.\n")
    assert pictures.names() == sorted([*PICTURES, "in/broken.jpg"])
    wrong = ["--project=123", "--region=us-central1", "--container-image", IMAGE, "--dry_run=true"]
    assert app.main(["submit", *job, *wrong]) == codes.WRONG_USE
    assert "Beam rejects the options" in capsys.readouterr().err


def watched(job: list[str], dataflow: DataflowServer, stream: io.StringIO) -> None:
    parsed = app.parser().parse(
        ["submit", *job, *PLACE, f"--dataflow_endpoint={dataflow.url}", "--container-image", IMAGE, "--wait"]
    )
    submit.submit(parsed.option(RunOptions), parsed.option(SubmitOptions), parsed.beam, stream)


def the_report(bucket: Bucket) -> dict[str, Any]:
    (name,) = (name for name in bucket.names() if name.startswith("out/runs/"))
    return dict(json.loads(bucket.get(name)))
