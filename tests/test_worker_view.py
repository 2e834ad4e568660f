"""What a worker sees: the packages of the CPU image, the sdist, no checkout, no TensorFlow, no network."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import apache_beam as beam
import pinned
import pytest
import tables
from apache_beam.options.pipeline_options import PipelineOptions
from gcs_server import Bucket
from pinned import ROOT, applicable

from beamsight.reports import run_report
from pipelines import catalog
from runners.cli import app
from runners.dataflow.options import IMAGES_PYTHON
from runners.jobs import resolve
from runners.jobs import run as jobs
from runners.jobs.options import RunOptions
from runners.template import parameters
from transforms.imaging import drawn
from transforms.inference import bundle

WORKER = Path(__file__).parent / "worker.py"
TABLES = ("predictions", "embeddings", "failures")


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = pinned.copy_sources(tmp_path_factory.mktemp("source") / "beamsight")
    pinned.uv("build", "--quiet", "--sdist", "--out-dir", source / "dist", source)
    (made,) = (source / "dist").glob("*.tar.gz")
    return made


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory, sdist: Path) -> Path:
    """The Python of a virtual environment that is made as containers/cpu.Dockerfile makes its image."""
    folder = tmp_path_factory.mktemp("worker") / "venv"
    pinned.uv("venv", "--quiet", "--python", sys.executable, folder)
    made = folder / "bin" / "python"
    install = ("pip", "install", "--quiet", "--python", made, "--no-deps")
    pinned.uv(*install, "--requirement", ROOT / "containers" / "cpu-requirements.txt")
    pinned.uv(*install, sdist)
    return made


def without_network() -> list[str]:
    """What to put before a command so that it has no network at all, where the system lets one do so."""
    command = ["unshare", "--map-root-user", "--net"]
    allowed = shutil.which("unshare") and subprocess.run([*command, "true"], capture_output=True, check=False)
    return command if allowed and allowed.returncode == 0 else []


def run(python: Path, pipeline: Path, *, alone: bool = True) -> dict[str, Any]:
    """Do a pipeline there. alone: without this machine's own servers too."""
    command = [*(without_network() if alone else []), str(python), "-I", str(WORKER), str(pipeline)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/", timeout=300)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout.splitlines()[-1]))


def staged(options: RunOptions, to: Path) -> Path:
    """The pipeline as it is sent to workers."""
    job, run_ = resolve.resolve(options, PipelineOptions([]), gpu=False)
    pipeline = beam.Pipeline()
    catalog.build(pipeline, job, partial(run_report.write, run=run_))
    to.write_bytes(pipeline.to_runner_api().SerializeToString())
    return to


@pytest.mark.timeout(600)
def without_run(rows: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**row, "run_id": None} for row in rows.values()]


def test_a_worker_without_tensorflow_network_or_checkout_does_a_unit(
    tmp_path: Path, python: Path, tiny_classifier: str, tiny_embedder: str
) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for number in range(5):
        (pictures / f"{number}.jpg").write_bytes(drawn.encode(drawn.draw(number, 90, 60)))
    (pictures / "broken.png").write_bytes(b"this is no picture")

    options = RunOptions(
        images=(str(pictures),),
        output=str(tmp_path / "here"),
        classifier=tiny_classifier,
        embedder=tiny_embedder,
        engine="openvino",
    )
    jobs.run(options, [], io.StringIO())
    saw = run(python, staged(replace(options, output=str(tmp_path / "worker")), tmp_path / "pipeline.pb"))

    assert not saw["tensorflow"]
    assert set(saw["installed"]) == applicable("cpu") | {f"beamsight=={metadata.version('beamsight')}"}
    assert all(path.startswith(str(python.parents[1])) for path in saw["ours"].values())
    assert not any(str(ROOT) in path for path in saw["path"])

    here, worker = (
        {name: tables.by_uri(tables.rows(tmp_path / where, name, tmp_path)) for name in TABLES}
        for where in ("here", "worker")
    )
    assert len(worker["predictions"]) == len(worker["embeddings"]) == 5
    assert [row["error"] for row in worker["failures"].values()] == ["NotAnImage"]
    for table in ("predictions", "embeddings"):
        assert without_run(worker[table]) == without_run(here[table])
    (told,) = (tmp_path / "worker" / "runs").iterdir()
    assert json.loads(told.read_text(encoding="utf-8"))["counts"]["failed"] == {"decode": 1}


def test_a_launched_template_makes_the_job_on_a_machine_without_tensorflow(
    bucket: Bucket, tmp_path: Path, python: Path, tiny_classifier: str
) -> None:
    """The launcher's part: it calls launch.py with the launch's parameters, and sends what that leaves in a bucket."""
    bucket.put("in/0.jpg", drawn.encode(drawn.draw(0, 90, 60)))
    bundle.write(bundle.read(tiny_classifier), Path(tiny_classifier), bucket.uri("models/tiny"))
    words = [
        *(
            "--images",
            bucket.uri("in/*.jpg"),
            "--output",
            bucket.uri("out"),
            "--project=my-project",
            "--region=europe-west4",
        ),
        *("--classifier", bucket.uri("models/tiny"), "--embedder=none", "--max-workers=4", "--label=team=birds"),
    ]
    values = app.parser().parse(["submit", *words]).values
    request = parameters.launch_request(bucket.uri("beamsight.json"), values, []).launch_parameter
    called = [
        *("--runner=DataflowRunner", "--project=my-project", "--region=europe-west4", f"--job_name={request.job_name}"),
        f"--template_location={bucket.uri('launch/job_object')}",
        f"--temp_location={request.environment.temp_location}",
        f"--staging_location={request.environment.staging_location}",
        "--of_the_launcher=1",
        *(f"--{name}={value}" for name, value in request.parameters.items()),
    ]
    command: list[str | Path] = [python, "-I", ROOT / "containers" / "launch.py", *called]
    ours = sys.version_info[:2] == IMAGES_PYTHON  # another Python needs an image that was built for it
    built = "europe/beamsight" if ours else "europe/beamsight:own"
    environment = {**os.environ, "BEAMSIGHT_IMAGE": built, "BEAMSIGHT_CACHE": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/", env=environment, timeout=300)
    assert done.returncode == 0, done.stderr

    assert "ignored --of_the_launcher=1" in done.stderr

    job = json.loads(bucket.get("launch/job_object"))
    assert job["name"] == "beamsight"
    assert job["labels"]["team"] == "birds"
    (pool,) = job["environment"]["workerPools"]
    assert pool["autoscalingSettings"]["maxNumWorkers"] == 4
    (image,) = {each["containerImage"] for each in pool["sdkHarnessContainerImages"]}
    assert image == (f"{built}:{metadata.version('beamsight')}-cpu" if ours else built)

    pipeline = job["environment"]["sdkPipelineOptions"]["options"]["pipelineUrl"]
    path = tmp_path / "pipeline.pb"
    path.write_bytes(bucket.get(pipeline.removeprefix(f"gs://{bucket.name}/")))
    run(python, path, alone=False)
    (row,) = tables.rows(bucket, "predictions", tmp_path)
    assert row["uri"] == bucket.uri("in/0.jpg")


def test_what_needs_tensorflow_says_so_in_one_line(python: Path, tmp_path: Path) -> None:
    (tmp_path / "0.jpg").write_bytes(drawn.encode(drawn.draw(0, 90, 60)))
    ours: list[str | Path] = [
        python.with_name("beamsight"),
        "run",
        "--images",
        tmp_path / "0.jpg",
        "--output",
        tmp_path / "out",
    ]
    environment = {"BEAMSIGHT_CACHE": str(tmp_path / "cache")}
    done = subprocess.run(ours, capture_output=True, text=True, check=False, cwd="/", env=environment)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("beamsight: TensorFlow is not installed here")
