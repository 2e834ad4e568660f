"""What `config check` and `schedule print` find: all faults at once, and warnings."""

from __future__ import annotations

import shutil
import threading
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from gcs_server import Bucket, GcsServer

from beamsight import options as declared
from runners.cli import app, codes, nightly
from runners.dataflow.submit_options import SubmitOptions
from runners.jobs.faults import Faults
from runners.jobs.options import RunOptions
from runners.nights import check, day_patterns
from runners.nights.options import NightlyOptions
from transforms.errors import NoCredentials, Unreadable, UsageError
from transforms.imaging import drawn

NOW = datetime(2026, 11, 20, 2, tzinfo=timezone.utc)
ON_DATAFLOW = ["--runner=DataflowRunner"]


def faults(values: dict[str, Any], *beam: str, ask: bool = True) -> list[str]:
    """Return the faults of a night."""
    with pytest.raises(UsageError) as refused:
        check.check(values, beam, NOW, ask=ask)
    return str(refused.value).splitlines()


def warnings(values: dict[str, Any], *beam: str) -> tuple[str, ...]:
    return check.check(values, beam, NOW, ask=True).warnings


@pytest.fixture
def night(tmp_path: Path, tiny_classifier: str) -> dict[str, Any]:
    """The options of a night that can run, with one image a day."""
    folder = tmp_path / "in" / "2026-11-20"
    folder.mkdir(parents=True)
    (folder / "a.jpg").write_bytes(drawn.encode(drawn.draw(0, 40, 40)))
    return {
        "images": (f"{tmp_path}/in/{{date}}",),
        "output": str(tmp_path / "out"),
        "classifier": tiny_classifier,
        "embedder": "none",
    }


def test_a_night_that_can_run_has_no_faults(night: dict[str, Any]) -> None:
    checked = check.check(night, [], NOW, ask=True)
    assert (checked.job, checked.warnings) == (RunOptions(**night), ())


def test_files_of_the_output_are_no_images(night: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "out" / "runs").mkdir(parents=True)
    (tmp_path / "out" / "runs" / "a.jpg").touch()
    (warning,) = warnings(night | {"images": (f"{tmp_path}/out/**",)})
    assert "only files of --output" in warning


def test_all_faults_are_found_at_once(night: dict[str, Any], tiny_embedder: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "list.csv").write_text("path\na.jpg\n", encoding="utf-8")
    given = {
        "top_k": 0,
        "threads": 0,
        "time_zone": "Mars",
        "workers": 11,
        "labels": ("x",),
        "region": "europe-west4",
        "output": str(tmp_path / "file"),
        "classifier": tiny_embedder,
        "embedder": "efficientnet-b9",
        "images": ("in/{day}", "ftp://host/a.jpg", str(tmp_path / "list.csv")),
    }
    found = faults(given, "--zone=z", "--machine_type=m")
    expected = (
        "--top-k 0 is too small",
        "--threads 0 is too small",
        "--workers 11 is more than --max-workers 10",
        "--label x is not KEY=VALUE",
        "--region is for a job on Dataflow",
        "--zone, --machine_type are for machines in a cloud",
        "--time-zone Mars is unknown",
        "--output " + str(tmp_path / "file") + " is a file",
        f"--classifier {tiny_embedder}: ",
        "--embedder efficientnet-b9: 'efficientnet-b9' is neither",
        "{day} is not a day",
        "ftp://host/a.jpg",
        f"{tmp_path}/list.csv has no column 'uri'",
    )
    for text in expected:
        assert [line for line in found if text in line], (text, found)
    assert len(found) == len(expected)


def test_what_is_missing_does_not_hide_the_rest(tiny_embedder: str) -> None:
    found = faults({"classifier": tiny_embedder, "embedder": "none", "top_k": 0})
    assert [line.split(" ")[0] for line in found] == ["--images", "--output", "--top-k", "--classifier"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classifier": "nowhere/b7"}, "is not a bundle"),
        ({"classifier": "none"}, "leave nothing to do"),
        ({"precision": "int8"}, "int8"),
        ({"images": ("http://host/a.jpg",)}, "name the images in a manifest"),
        ({"images": ("in/{day}",)}, "{day} is not a day"),
    ],
)
def test_one_fault(night: dict[str, Any], changes: dict[str, Any], message: str) -> None:
    (found,) = faults({**night, **changes})
    assert message in found


def test_a_damaged_bundle_is_a_fault(night: dict[str, Any], tiny_classifier: str, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(tiny_classifier, tmp_path / "copy"))
    file = copy / "openvino" / "f32.bin"
    file.write_bytes(file.read_bytes() + b" ")
    (found,) = faults({**night, "classifier": str(copy)})
    assert f"{file}: its hash is" in found


def test_what_may_come_later_is_a_warning(
    night: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BEAMSIGHT_CACHE", str(tmp_path / "cache"))
    assert warnings({**night, "images": (f"{tmp_path}/in/{{yesterday}}",)}) == ()
    patterns = (f"{tmp_path}/inn/{{date}}", f"{tmp_path}/list.csv")
    assert warnings({**night, "images": patterns, "embedder": "efficientnet-b6"}) == (
        "efficientnet-b6 is not on this machine; the first run downloads it",
        *(
            f"--images {pattern}: there is no {part}; check the pattern, if this is not before the first upload"
            for pattern, part in zip(patterns, (f"{tmp_path}/inn/", f"{tmp_path}/list.csv"), strict=True)
        ),
    )


def test_buckets_are_asked(bucket: Bucket, night: dict[str, Any]) -> None:
    bucket.put("photos/2026-11-20/a.jpg", b"")
    there = {**night, "images": (bucket.uri("photos/{date}/**"),), "output": bucket.uri("out")}
    before = bucket.names()
    assert warnings(there) == ()
    assert "there is no " + bucket.uri("fotos/") in warnings({**there, "images": (bucket.uri("fotos/{date}/**"),)})[0]
    nowhere = "gs://no-such-bucket-here"
    found = faults({**there, "images": (f"{nowhere}/{{date}}/**",), "output": f"{nowhere}/out"})
    assert [line.split(": ")[0] for line in found] == [f"--output {nowhere}/out", f"--images {nowhere}/{{date}}/**"]
    assert bucket.names() == before


def test_a_storage_that_does_not_answer_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "ANSWER_SECONDS", 0.0)
    answered, found = threading.Event(), Faults()

    def wait() -> None:
        answered.wait()

    assert list(check._ask([("--output gs://b/out", wait)], found)) == [
        "--output gs://b/out was not checked: no answer within 0 s"
    ]
    answered.set()
    assert found.messages == []


@pytest.mark.parametrize(
    ("error", "shown", "is_fault"),
    [
        (Unreadable("503", retryable=True), "--output x was not checked: 503", False),
        (NoCredentials("log in"), "--output x was not checked: log in", False),
        (Unreadable("403"), "--output x: 403", True),
        (UsageError("--output x is a file"), "--output x is a file", True),
    ],
)
def test_what_cannot_be_asked_is_a_warning(error: Exception, shown: str, is_fault: bool) -> None:
    def fail() -> None:
        raise error

    found = Faults()
    warned = list(check._ask([("--output x", fail)], found))
    assert (warned, found.messages) == (([], [shown]) if is_fault else ([shown], []))


def test_a_bug_is_no_fault_of_the_user() -> None:
    with pytest.raises(ZeroDivisionError):
        list(check._ask([("--output x", lambda: str(1 // 0))], Faults()))


def test_nothing_is_asked_of_a_schedule_in_the_cloud(gcs: GcsServer, bucket: Bucket) -> None:
    values = {"images": (bucket.uri("in/{date}"),), "output": bucket.uri("out"), "project": "p"}
    found = faults({**values, "region": "europe-west4"}, *ON_DATAFLOW, ask=False)
    assert [line.split(":")[0] for line in found] == ["no container image"]
    assert gcs.requests == []


def test_invisible_files_are_all_named(night: dict[str, Any]) -> None:
    found = faults(night, *ON_DATAFLOW, ask=False)
    assert [line.split(" ")[0] for line in found] == [*["no"] * 4, "--images", "--output"]


@pytest.mark.parametrize(
    ("pattern", "part"),
    [
        ("gs://b/photos/{date:%Y/%m}/**", "gs://b/photos/"),
        ("gs://b/photos/day-{date}.csv", "gs://b/photos/"),
        ("gs://b/photos/*/{date}/**", "gs://b/photos/"),
        ("gs://b/{date}/**", "gs://b/"),
        ("gs://{date}/**", None),
        ("gs://b/list.csv", "gs://b/list.csv"),
        ("in", "in"),
        ("{date}/**", "./"),
        ("in-{date}", "./"),
        ("/{date}", "/"),
        ("a{{b}}/{date}", "a{b}/"),
        ("in/*.jpg", "in/"),
    ],
)
def test_what_a_pattern_has_before_its_days(pattern: str, part: str | None) -> None:
    assert day_patterns.fixed_part(pattern) == part


def test_every_option_of_dataflow_needs_it() -> None:
    given = {each.field: 3 for each in declared.of(SubmitOptions) if each.kind is int}
    with pytest.raises(UsageError, match="--workers, --max-workers, --disk-gb are for a job on Dataflow"):
        check.require_dataflow(declared.build(SubmitOptions, {**given, "max_workers": 5}))
    assert {NightlyOptions, SubmitOptions} < set(nightly.OPTIONS)


@pytest.mark.parametrize("command", [["config", "check"], ["schedule", "print", "--cron", "--at=02:30", "--config"]])
def test_the_commands_show_all_faults(command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "nights.toml"
    file.write_text(
        f'images = "{tmp_path}/in/{{day}}"\noutput = "{tmp_path}/out"\nclassifier = "nowhere/b7"\nembedder = "none"\n'
        'machine-type = "c3-standard-8"\n',
        encoding="utf-8",
    )
    assert app.main([*command, str(file)]) == codes.WRONG_USE
    out, err = capsys.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert all(line.startswith("beamsight: ") for line in lines)
    assert [line.split(" ")[1] for line in lines] == ["--machine-type", "--images", "--classifier"]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", [["config", "check"], ["schedule", "print", "--cron", "--at=02:30", "--config"]])
def test_the_commands_show_warnings(
    command: list[str], night: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "nights.toml"
    text = "".join(f'{key} = "{value}"\n' for key, value in night.items() if key != "images")
    file.write_text(f'{text}images = "{tmp_path}/inn/{{date}}"\n', encoding="utf-8")
    assert app.main([*command, str(file)]) == codes.DONE
    out, err = capsys.readouterr()
    assert "nightly" in out
    assert err == (
        f"beamsight: --images {tmp_path}/inn/{{date}}: there is no {tmp_path}/inn/; check the pattern, if this is not "
        "before the first upload\n"
    )
