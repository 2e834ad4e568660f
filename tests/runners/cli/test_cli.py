"""Wrong use is refused in one line that names the value and the remedy, before anything is started."""

from __future__ import annotations

import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from gcs_server import Bucket

from runners.cli import app, codes
from runners.jobs import beam_options, portable
from transforms.errors import UsageError
from transforms.imaging import drawn


@pytest.fixture
def photo(tmp_path: Path) -> str:
    path = tmp_path / "a.jpg"
    path.write_bytes(drawn.encode(drawn.draw(0, 40, 40)))
    return str(path)


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert app.main(arguments) == codes.WRONG_USE
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("beamsight: ")
    assert said.err.count("\n") == 1
    return said.err


ON_DATAFLOW = (
    "--runner=DataflowRunner",
    "--region=europe-west4",
    "--temp_location=gs://bucket/t",
    "--sdk_container_image=i",
)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--images", "nowhere"], ["--images nowhere", "no such file"]),
        (["--images", "{folder}/*.png"], ["*.png", "no file matches", "'**'"]),
        (["--images", "https://host/a.jpg"], ["https://host/a.jpg", "name the images in a manifest"]),
        (["--images", "ftp://host/a.jpg"], ["ftp://", "gs://", "s3://"]),
        (["--images", "{photo}", "--clasifier", "none"], ["--clasifier", "did you mean '--classifier'?"]),
        (["--images", "{photo}", "b.jpg"], ["b.jpg", "quotes"]),
        (["--images", "{photo}", "--num_workers=many"], ["--num_workers", "many"]),
        (["--images", "{photo}", "--classifier", "efficientnet-b9"], ["efficientnet-b9", "efficientnet-b7"]),
        (["--images", "{photo}", "--classifier", "{folder}"], ["is not a bundle", "models stage"]),
        (["--images", "{photo}", "--classifier", "{embedder}"], ["to embed with", "needs one to classify with"]),
        (["--images", "{photo}", "--classifier", "none", "--embedder", "none"], ["nothing to do"]),
        (["--images", "{photo}", "--top-k", "0"], ["--top-k 0"]),
        (["--images", "{photo}", "--max-failures", "few"], ["'few'", "1%"]),
        (["--images", "{photo}", "--output", "/proc/nowhere"], ["/proc/nowhere"]),
        (["--images", "{photo}", "--output", "http://host/out"], ["http://host/out"]),
        (["--images", "{folder}/{{date}}/**"], ["only `beamsight nightly` fills in {{date}}"]),
        (["--images", "{folder}/{{yesterday:%Y}}.csv"], ["only `beamsight nightly` fills in"]),
        (["--images", "{photo}", "--project", "x"], ["--project is for machines in a cloud", "DataflowRunner"]),
        (["--images", "{photo}", "--region=europe-west4"], ["--region is for machines in a cloud", "DataflowRunner"]),
        (
            ["--images", "{photo}", "--zone", "z", "--disk_size_gb=3", "--runner=FlinkRunner"],
            ["--zone, --disk_size_gb"],
        ),
        (["--images", "{photo}", "--no_use_public_ips", "--dry-run"], ["--no_use_public_ips is for machines"]),
        (["--images", "{photo}", "--machine-type=m"], ["--machine-type is for a job on Dataflow", "beamsight submit"]),
        (["--images", "{photo}", "--output", ""], ["--output '' is empty", "shell variable"]),
        (["--images", "{photo}", "--output", "{photo}"], ["--output {photo} is a file, and not a folder"]),
        (["--images", "{photo}", "--output", "{photo}/"], ["--output {photo}/ is a file, and not a folder"]),
        (["--images", "{photo}", "--output", "{photo}", "--dry-run"], ["--output {photo} is a file"]),
        (["--images", "{photo}", "--output", "{photo}/out"], ["{photo}/out/lock.json", "Not a directory"]),
        (["--images", "{photo}", "--output", "/dev/null"], ["--output /dev/null is a fifo, a socket, or a device"]),
        (["--images", "{photo}", "--runner=DataflowRunner"], ["--images {photo}", "copy it to a bucket"]),
        (["--images", "gs://b/a.jpg", "--runner=DataflowRunner"], ["--output {folder}/out", "in a bucket"]),
        (["--images", "gs://b/a.jpg", "--output", "gs://b/out", *ON_DATAFLOW], ["--project"]),
        (
            ["--images", "gs://b/a", "--output", "gs://b/out", "--runner=FlinkRunner", "--environment_type=DOCKER"],
            ["--classifier {classifier}", "--to gs://"],
        ),
        (
            ["--images", "{photo}", "--runner=FlinkRunner", "--environment_type=DOCKER"],
            ["--images {photo}", "cannot see it"],
        ),
    ],
)
def test_wrong_use_of_run(
    options: list[str],
    words: list[str],
    photo: str,
    tmp_path: Path,
    tiny_classifier: str,
    tiny_embedder: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    places = {"photo": photo, "folder": str(tmp_path), "embedder": tiny_embedder, "classifier": tiny_classifier}
    arguments = ["run", "--output", f"{tmp_path}/out", "--classifier", tiny_classifier, "--embedder", "none"]
    said = refused([*arguments, *(option.format(**places) for option in options)], capsys)
    for word in words:
        assert word.format(**places) in said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", ["run", "nightly", "submit"])
@pytest.mark.parametrize("more", [[], ["--dry-run"]])
def test_an_output_that_is_an_object_is_refused(
    command: str, more: list[str], bucket: Bucket, tiny_classifier: str, capsys: pytest.CaptureFixture[str]
) -> None:
    bucket.put("catalog", b"12345")
    bucket.put("a.jpg", drawn.encode(drawn.draw(0, 40, 40)))
    before = bucket.names()
    arguments = [command, "--images", bucket.uri("a.jpg"), "--output", bucket.uri("catalog"), *more]
    arguments += ["--classifier", tiny_classifier, "--embedder", "none"]
    if command == "submit":
        arguments += ["--project=test-project", "--region=europe-west4", "--container-image=repository/beamsight"]
    assert f"--output {bucket.uri('catalog')} is a file of 5 bytes, and not a folder" in refused(arguments, capsys)
    assert bucket.names() == before


@pytest.mark.parametrize(
    ("engine", "file"), [("openvino", "openvino/f32.bin"), ("tensorflow", "saved_model/saved_model.pb")]
)
def test_a_damaged_bundle_is_refused_by_the_engine_that_runs_it(
    photo: str, tmp_path: Path, tiny_classifier: str, capsys: pytest.CaptureFixture[str], engine: str, file: str
) -> None:
    copy = Path(shutil.copytree(tiny_classifier, tmp_path / "copy"))
    (copy / file).write_bytes((copy / file).read_bytes() + b" ")
    arguments = ["run", "--images", photo, "--output", str(tmp_path / "out"), "--embedder", "none"]
    arguments += ["--classifier", str(copy), "--engine"]
    said = refused([*arguments, engine], capsys)
    assert f"{copy}/{file}: its hash is" in said
    assert "stage the model again" in said
    assert app.main([*arguments, "tensorflow" if engine == "openvino" else "openvino"]) == codes.DONE


def test_a_column_that_is_not_there(tmp_path: Path, tiny_classifier: str, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "list.csv").write_text("path,id\na.jpg,1\n")
    arguments = ["run", "--images", str(tmp_path / "list.csv"), "--output", str(tmp_path / "out")]
    said = refused([*arguments, "--classifier", tiny_classifier, "--embedder", "none"], capsys)
    assert "no column 'uri'" in said
    assert "'path', 'id'" in said
    assert "--uri-column" in said


@pytest.mark.parametrize("name", ["list.parquet", "list.csv"])
def test_two_columns_of_one_name(
    name: str, tmp_path: Path, tiny_classifier: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "list.csv").write_text("uri,id,uri\na.jpg,1,b.jpg\n")
    columns = [pa.array(["a.jpg"]), pa.array(["1"]), pa.array(["b.jpg"])]
    pq.write_table(pa.Table.from_arrays(columns, names=["uri", "id", "uri"]), tmp_path / "list.parquet")
    arguments = ["run", "--images", str(tmp_path / name), "--output", str(tmp_path / "out")]
    said = refused([*arguments, "--classifier", tiny_classifier, "--embedder", "none"], capsys)
    assert f"{tmp_path / name} has 2 columns 'uri'" in said
    assert "--uri-column" in said


def test_wrong_use_of_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "no run report" in refused(["report", str(tmp_path)], capsys)
    assert "https://host/out" in refused(["report", "https://host/out"], capsys)
    assert "--date 'yesterday' is not a day" in refused(["report", str(tmp_path), "--date", "yesterday"], capsys)
    assert "use one of them" in refused(["report", str(tmp_path), "--date", "2026-11-20", "--run", "r1"], capsys)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run"], "--images is required"),
        (["run", "--images", "a"], "--output is required"),
        (["run", "--top-k", "many"], "--top-k 'many' is not a whole number"),
        (["run", "--images"], "--images: expected one argument; see `beamsight run --help`"),
        (["run", "--precision", "bf6"], "did you mean 'bf16'?"),
        (["rnu"], "unknown command 'rnu'; did you mean 'run'?; see `beamsight --help`"),
        (["models"], "a command is missing; see `beamsight models --help`"),
        (["models", "lisst"], "unknown command 'lisst'; did you mean 'list'?; see `beamsight models --help`"),
        (["models", "list", "--fast"], "unknown option --fast; see `beamsight models list --help`"),
        (["report", "out", "--dat", "x"], "unknown option --dat; did you mean '--date'?"),
    ],
)
def test_a_wrong_command_line_has_one_line_that_names_the_help(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert message in refused(arguments, capsys)


def test_the_command_alone_shows_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        app.main([])
    assert stopped.value.code == 0
    assert "process the images that the tables lack" in capsys.readouterr().out


def test_help_and_version_are_quick_and_import_no_models(capsys: pytest.CaptureFixture[str]) -> None:
    program = (
        "import sys; from runners.cli import app; app.main(['models', 'list']); print('tensorflow' in sys.modules)"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert said.stdout.splitlines()[-1] == "False"
    assert said.stderr == ""
    with pytest.raises(SystemExit):
        app.main(["--version"])
    assert capsys.readouterr().out == f"beamsight {metadata.version('beamsight')}\n"


def test_beams_own_options_pass() -> None:
    options = beam_options.parse(["--runner=DataflowRunner", "--project", "p", "--region=r", "--max_num_workers", "9"])
    assert beam_options.workers(options) == 9
    assert not beam_options.sees_this_disk(options)
    assert beam_options.sees_this_disk(beam_options.parse(["--runner=FlinkRunner", "--environment_type=LOOPBACK"]))
    assert beam_options.sees_this_disk(beam_options.parse([]))


@pytest.mark.parametrize(
    ("words", "sees"),
    [
        (["--runner=FlinkRunner"], True),  # Beam starts a Flink here, and has this process do the work
        (["--runner=FlinkRunner", "--flink_master=[local]"], True),
        (["--runner=FlinkRunner", "--flink_master=host:8081"], False),  # in containers, as nothing else was asked for
        (["--runner=FlinkRunner", "--flink_master=host:8081", "--environment_type=EXTERNAL"], True),  # a shared disk
        (["--runner=PortableRunner", "--job_endpoint=host:8099"], False),
        (["--runner=PrismRunner"], True),
        (["--runner=PrismRunner", "--environment_type=DOCKER"], False),
    ],
)
def test_containers_do_not_see_this_disk(words: list[str], sees: bool) -> None:
    assert beam_options.sees_this_disk(beam_options.parse(words)) == sees


def test_slots_of_flink_are_workers() -> None:
    assert beam_options.workers(beam_options.parse(["--runner=FlinkRunner", "--parallelism=6"])) == 6
    assert beam_options.workers(beam_options.parse(["--runner=FlinkRunner"])) == 1
    with pytest.raises(UsageError, match="--regoin"):
        beam_options.parse(["--regoin=r"])


def test_workers_with_another_disk_are_found_out(
    photo: str,
    tmp_path: Path,
    tiny_classifier: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(portable, "run", lambda *_, **__: None)  # an engine that has ended without a report
    words = [
        "--images",
        photo,
        "--output",
        str(tmp_path / "out"),
        "--classifier",
        tiny_classifier,
        "--embedder",
        "none",
    ]
    assert app.main(["run", *words, "--runner=PrismRunner", "--environment_type=EXTERNAL"]) == codes.RUN_FAILED
    assert f"--output {tmp_path}/out is another folder for the workers" in capsys.readouterr().err
