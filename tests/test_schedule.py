"""Schedules, by their command: made through Google's client on localhost, and what they launch, done."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import tables
from dataflow_server import DataflowServer
from gcs_server import Bucket
from scheduler_server import SchedulerServer
from test_dataflow import run_it, staged_pipeline

from runners.cli import app, codes, launcher
from transforms.imaging import drawn

ZONE = "Pacific/Kiritimati"  # 14 hours before UTC's day
PLACE = ["--project=test-project", "--region=europe-west4"]
FULL = "projects/test-project/locations/europe-west4/jobs/birds"
LAUNCHER = "launcher@test-project.iam.gserviceaccount.com"


@pytest.fixture
def dataflow() -> Iterator[DataflowServer]:
    with DataflowServer() as server:
        yield server


@pytest.fixture
def scheduler() -> Iterator[SchedulerServer]:
    with SchedulerServer() as server:
        yield server


@pytest.fixture
def create(bucket: Bucket, dataflow: DataflowServer, scheduler: SchedulerServer, tiny_classifier: str) -> list[str]:
    bucket.put("templates/beamsight.json", b"{}")
    return [
        *("schedule", "create", "--name=birds", f"--template={bucket.uri('templates/beamsight.json')}"),
        *("--at=02:30", f"--time-zone={ZONE}", f"--launch-as={LAUNCHER}", f"--scheduler-endpoint={scheduler.url}"),
        *PLACE,
        *(f"--images={bucket.uri('photos/{date:%Y/%m/%d}/**')}", f"--output={bucket.uri('out')}", "--max-workers=4"),
        *(f"--classifier={tiny_classifier}", "--embedder=none", f"--dataflow_endpoint={dataflow.url}"),
    ]


@pytest.fixture
def of_birds(scheduler: SchedulerServer) -> list[str]:
    return [*PLACE, "--name=birds", f"--scheduler-endpoint={scheduler.url}"]


def launched(launch: dict[str, Any]) -> list[str]:
    """What Dataflow's launcher calls the template's program with."""
    parameter = launch["launchParameter"]
    environment = parameter["environment"]
    return [
        *("--runner=DataflowRunner", f"--project={launch['project']}", f"--region={launch['location']}"),
        f"--job_name={parameter['jobName']}",
        f"--temp_location={environment['tempLocation']}",
        f"--staging_location={environment['stagingLocation']}",
        *environment["additionalPipelineOptions"],
        *(f"--{name}={value}" for name, value in parameter["parameters"].items()),
    ]


def require_schedule(job: dict[str, Any], endpoint: str) -> dict[str, Any]:
    """Check the job of Cloud Scheduler and return the body that it sends."""
    expected = {
        "name": FULL,
        "schedule": "30 2 * * *",
        "timeZone": ZONE,
        "retryConfig": {"retryCount": 3, "minBackoffDuration": "60s", "maxBackoffDuration": "3600s"},
        "attemptDeadline": "180s",
    }
    assert {name: job[name] for name in expected} == expected
    target = job["httpTarget"]
    scope = "https://www.googleapis.com/auth/cloud-platform"
    assert target["uri"] == f"{endpoint}/v1b3/projects/test-project/locations/europe-west4/flexTemplates:launch"
    assert target["oauthToken"] == {"serviceAccountEmail": LAUNCHER, "scope": scope}
    assert target["headers"] == {"Content-Type": "application/json"}
    body: dict[str, Any] = json.loads(base64.b64decode(target["body"]))
    assert body.keys() == {"launchParameter"}
    return body


def require_launch(launch: dict[str, Any], body: dict[str, Any], bucket: Bucket) -> None:
    caller = {"project": "test-project", "location": "europe-west4", "token": f"Bearer {LAUNCHER}"}
    assert launch == {**body, **caller}
    parameter = launch["launchParameter"]
    assert (parameter["jobName"], parameter["containerSpecGcsPath"], parameter["parameters"]["images"]) == (
        "birds",
        bucket.uri("templates/beamsight.json"),
        bucket.uri("photos/{date:%Y/%m/%d}/**"),
    )


def require_job(sent: dict[str, Any]) -> None:
    (pool,) = sent["environment"]["workerPools"]
    assert (sent["name"], pool["autoscalingSettings"]["maxNumWorkers"]) == ("birds", 4)


def require_day_of_run(bucket: Bucket, today: date) -> str:
    """Check the options in the run report and return the day of the run."""
    (name,) = (name for name in bucket.names() if name.startswith("out/runs/"))
    night = json.loads(bucket.get(name))["options"]["night"]
    assert night["patterns"] == [bucket.uri("photos/{date:%Y/%m/%d}/**")]
    (day,) = night["days"]
    assert day in (f"{today}", f"{today + timedelta(1)}")
    return str(day)


def test_a_schedule_launches_the_job_of_its_day(
    bucket: Bucket,
    create: list[str],
    dataflow: DataflowServer,
    scheduler: SchedulerServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert app.main(create) == codes.DONE
    out, err = capsys.readouterr()
    assert (out.startswith("created\n"), err) == (True, "")
    body = require_schedule(scheduler.job, dataflow.url)

    scheduler.fire(FULL)
    (launch,) = dataflow.launches
    require_launch(launch, body, bucket)

    today = datetime.now(ZoneInfo(ZONE)).date()
    for days in (-2, -1, 0, 1):  # the last one for a test that goes past midnight
        bucket.put(f"photos/{today + timedelta(days):%Y/%m/%d}/a.jpg", drawn.encode(drawn.draw(days + 2, 90, 60)))
    monkeypatch.setenv("BEAMSIGHT_IMAGE", "europe/beamsight")
    assert launcher.main(launched(launch)) == codes.DONE
    require_job(dataflow.job)
    day = require_day_of_run(bucket, today)

    run_it(staged_pipeline(bucket, dataflow.job["environment"]["sdkPipelineOptions"]["options"]))
    uris = [row["uri"] for row in tables.rows(bucket, "predictions", tmp_path)]
    assert uris == [bucket.uri(f"photos/{day.replace('-', '/')}/a.jpg")]


def test_a_night_without_images_is_launched_too(
    bucket: Bucket, create: list[str], dataflow: DataflowServer, scheduler: SchedulerServer
) -> None:
    """By a launcher that leaves the job in the bucket, from where Dataflow takes it."""
    assert app.main(create) == codes.DONE
    scheduler.fire(FULL)
    left = f"--template_location={bucket.uri('launch/job_object')}"
    assert launcher.main([*launched(dataflow.launches[0]), left, "--container_image=europe/beamsight"]) == codes.DONE
    assert json.loads(bucket.get("launch/job_object"))["name"] == "birds"
    assert not dataflow.created


def test_creating_again_updates(
    create: list[str], scheduler: SchedulerServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert app.main(create) == codes.DONE
    first = json.loads(json.dumps(scheduler.job))
    assert app.main(create) == codes.DONE
    assert scheduler.job == first
    assert app.main([*create, "--at=3:15", "--retries=0", "--max-workers=9", "--time-zone=UTC"]) == codes.DONE
    assert capsys.readouterr().out.count("updated\n") == 2
    job = scheduler.job
    assert (job["schedule"], job["timeZone"], job["scheduleTime"]) == ("15 3 * * *", "UTC", first["scheduleTime"])
    assert job["retryConfig"] == {"minBackoffDuration": "60s", "maxBackoffDuration": "3600s"}
    parameters = json.loads(base64.b64decode(job["httpTarget"]["body"]))["launchParameter"]["parameters"]
    assert (parameters["max_workers"], parameters["time_zone"]) == ("9", "UTC")


def test_show_describes_a_paused_schedule_whose_last_launch_failed(
    bucket: Bucket,
    create: list[str],
    of_birds: list[str],
    scheduler: SchedulerServer,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert app.main(create) == codes.DONE
    created = capsys.readouterr().out.removeprefix("created\n").splitlines()
    scheduler.job["lastAttemptTime"] = "2026-11-20T12:30:00Z"
    scheduler.job["status"] = {"code": 7, "message": "no role"}
    scheduler.job["state"] = "PAUSED"
    assert app.main(["schedule", "show", *of_birds]) == codes.DONE
    shown = capsys.readouterr().out.splitlines()
    texts = dict(line.split(maxsplit=1) for line in shown)
    expected = {
        "schedule": "birds in europe-west4 of test-project, paused, so it launches nothing",
        "when": f"every day at 02:30, {ZONE}",
        "next": "2026-11-21 01:30 UTC",
        "last": "2026-11-20 12:30 UTC, failed with code 7, no role",
        "retries": "3, the first after 1 min 00 s",
        "as": LAUNCHER,
        "launches": bucket.uri("templates/beamsight.json"),
        "job": "birds",
        "images": bucket.uri("photos/{date:%Y/%m/%d}/**"),
    }
    assert {name: texts[name] for name in expected} == expected
    assert texts["classifier"].startswith(bucket.uri("beamsight/models/tiny-"))
    unchanged = [line for line in shown if not line.startswith(("schedule ", "last "))]
    assert unchanged == [line for line in created if not line.startswith("schedule ")]


def test_a_deleted_schedule_is_not_shown(
    create: list[str], of_birds: list[str], scheduler: SchedulerServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert app.main(create) == codes.DONE
    capsys.readouterr()
    assert app.main(["schedule", "delete", *of_birds]) == codes.DONE
    assert capsys.readouterr().out == "deleted: schedule birds in europe-west4 of test-project\n"
    assert not scheduler.jobs
    assert app.main(["schedule", "delete", *of_birds]) == codes.DONE
    assert capsys.readouterr().out.startswith("nothing to delete: there is no schedule birds in europe-west4")
    assert app.main(["schedule", "show", *of_birds]) == codes.WRONG_USE
    assert "`beamsight schedule create` creates one" in capsys.readouterr().err


def test_a_dry_run_says_what_would_be_made(
    create: list[str], scheduler: SchedulerServer, bucket: Bucket, capsys: pytest.CaptureFixture[str]
) -> None:
    assert app.main([*create, "--dry-run"]) == codes.DONE
    said = capsys.readouterr().out
    assert "every day at 02:30" in said
    assert said.endswith("The schedule was not created.\n")
    assert not scheduler.asked
    assert bucket.names() == ["templates/beamsight.json"]


def test_options_come_from_the_file_of_options(
    create: list[str],
    scheduler: SchedulerServer,
    bucket: Bucket,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "beamsight.toml").write_text(
        f'images = ["{bucket.uri("a/{yesterday}/**")}", "{bucket.uri("b.csv")}"]\noutput = "{bucket.uri("out")}"\n'
        'time-zone = "Asia/Tokyo"\nembedder = "none"\ntop-k = 3\n[beam]\nrunner = "DataflowRunner"\n',
        encoding="utf-8",
    )
    monkeypatch.chdir(tmp_path)
    words = [word for word in create if not word.startswith(("--images", "--output", "--embedder", "--time-zone"))]
    assert app.main(words) == codes.DONE
    assert scheduler.job["timeZone"] == "Asia/Tokyo"
    launch = json.loads(base64.b64decode(scheduler.job["httpTarget"]["body"]))["launchParameter"]
    given = launch["parameters"]
    assert given["images"] == "|".join((bucket.uri("a/{yesterday}/**"), bucket.uri("b.csv")))
    assert (given["top_k"], given["embedder"], given["time_zone"]) == ("3", "none", "Asia/Tokyo")
    (beam,) = launch["environment"]["additionalPipelineOptions"]
    assert beam.startswith("--dataflow_endpoint=")


@pytest.mark.parametrize(
    ("refusal", "remedy"),
    [
        (
            (403, "PERMISSION_DENIED", "The principal lacks IAM permission cloudscheduler.jobs.create."),
            "grant yourself the role Cloud Scheduler Admin in test-project",
        ),
        (
            (403, "PERMISSION_DENIED", "The principal lacks IAM permission iam.serviceAccounts.actAs for the resource"),
            "grant yourself the role Service Account User on the account of --launch-as",
        ),
        (
            (403, "PERMISSION_DENIED", "Cloud Scheduler API has not been used in project test-project before"),
            "run `gcloud services enable cloudscheduler.googleapis.com --project test-project`",
        ),
        (
            (403, "PERMISSION_DENIED", "Permission denied on 'locations/europe-west4' (or it may not exist)."),
            "not be available in europe-west4. `gcloud scheduler locations list --project test-project`",
        ),
        ((400, "INVALID_ARGUMENT", "Schedule is not valid."), "--dry-run shows the request"),
        ((429, "RESOURCE_EXHAUSTED", "Quota exceeded."), "try again later"),
    ],
)
def test_a_refusal_is_one_line_with_its_remedy(
    create: list[str],
    scheduler: SchedulerServer,
    refusal: tuple[int, str, str],
    remedy: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    scheduler.refusal = refusal
    assert app.main(create) == codes.WRONG_USE
    (line,) = capsys.readouterr().err.splitlines()
    assert f"test-project: {refusal[2].rstrip('.')}; " in line
    assert remedy in line


def test_a_server_that_is_busy_is_asked_again(create: list[str], scheduler: SchedulerServer) -> None:
    scheduler.busy = 2
    assert app.main(create) == codes.DONE
    assert scheduler.job["name"] == FULL
    assert len(scheduler.asked) == 3


def test_a_server_that_cannot_be_reached_is_one_line(create: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with SchedulerServer() as gone:
        pass
    assert app.main([*create, f"--scheduler-endpoint={gone.url}"]) == codes.WRONG_USE
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("; try again later")


def test_a_place_that_has_no_cloud_scheduler_is_told_how_to_name_another(
    create: list[str], scheduler: SchedulerServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert app.main([*create, "--location=europe-west9"]) == codes.WRONG_USE
    (line,) = capsys.readouterr().err.splitlines()
    assert "Cloud Scheduler may not be available in europe-west9." in line
    assert app.main([*create, "--location=europe-west1"]) == codes.DONE
    assert scheduler.job["name"] == FULL.replace("west4", "west1")
    assert "locations/europe-west4/flexTemplates" in scheduler.job["httpTarget"]["uri"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--template=gs://nowhere-at-all/t.json"], "containers/build.sh creates it"),
        (["--template=t.json"], "is not in a bucket"),
        (["--launch-as="], "no --launch-as: pass the service account"),
        (["--name=Birds"], "--name Birds: use up to 63"),
        (["--retries=9"], "--retries 9 is out of range; Cloud Scheduler accepts 0 to 5"),
        (["--retry-wait=0"], "--retry-wait 0 is out of range; Cloud Scheduler accepts 1 to 3600"),
        (["--attempt-deadline=5"], "--attempt-deadline 5 is out of range; Cloud Scheduler accepts 15 to 1800"),
        (["--time-zone=Mars/Olympus"], "--time-zone Mars/Olympus is"),
        (["--date=2026-11-20"], "--date 2026-11-20 would be the same every night"),
        (["--wait"], "--wait is not for a template"),
        (["--images=gs://b/{tomorrow}/**"], "{tomorrow} is not a day"),
        (["--images=photos"], "photos"),
        (["--label=Team"], "is not KEY=VALUE"),
        (["--runner=FlinkRunner"], "launches only DataflowRunner"),
        (["--output=s3://b/out"], "no --temp_location: pass --bucket"),
        (["--region="], "no region: pass --region"),
        (["--flavour=1"], "unknown option --flavour"),
    ],
)
def test_what_could_not_be_launched_is_refused_now(
    create: list[str],
    scheduler: SchedulerServer,
    words: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert app.main([*create, *words]) == codes.WRONG_USE
    assert message in capsys.readouterr().err.splitlines()[-1]
    assert not scheduler.asked


def test_the_rights_of_the_workers_are_taken_where_no_others_are_named(
    create: list[str], scheduler: SchedulerServer
) -> None:
    words = [word for word in create if not word.startswith("--launch-as")]
    assert app.main([*words, "--service-account=worker@p.iam.gserviceaccount.com"]) == codes.DONE
    assert scheduler.job["httpTarget"]["oauthToken"]["serviceAccountEmail"] == "worker@p.iam.gserviceaccount.com"


def test_a_job_of_somebody_else_is_not_ours_to_show(
    scheduler: SchedulerServer, of_birds: list[str], gcs: object, capsys: pytest.CaptureFixture[str]
) -> None:
    scheduler.jobs[FULL] = {"name": FULL, "httpTarget": {"uri": "https://example.com", "body": ""}}
    assert app.main(["schedule", "show", *of_birds]) == codes.WRONG_USE
    assert "is not a schedule of beamsight" in capsys.readouterr().err
