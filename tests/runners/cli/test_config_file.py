"""The file of options: the same names, the same checks, and the command line before it."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from runners.cli import app, codes, nightly
from runners.cli.parser import Parsed
from runners.dataflow.submit_options import Figures, SubmitOptions
from runners.jobs.options import RunOptions
from transforms.errors import UsageError

NEEDED = 'images = "in/**"\noutput = "out"\n'


def written(tmp_path: Path, text: str) -> str:
    path = tmp_path / "nights.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def night(*words: str) -> tuple[Parsed, str | None]:
    """The options of a night: those of the file, and of the command line."""
    return nightly.with_config(app.parser().parse(["nightly", *words]))


def test_a_file_has_the_options_of_the_command_line(tmp_path: Path) -> None:
    file = written(
        tmp_path,
        """
        images = ["gs://b/{date}/**", "more, and more.csv"]
        output = "out"
        max_failures = "1%"
        max-bytes = 1_000_000
        time-zone = "Europe/Berlin"
        normalize = true
        probabilities = false
        label = ["a=b"]
        images-per-second = 2.5

        [beam]
        runner = "FlinkRunner"
        experiments = ["one", "two=2"]
        no_use_public_ips = true
        """,
    )
    parsed, read = night("--config", file, "--top-k", "3")
    assert read == file
    job, where = parsed.option(RunOptions), parsed.option(SubmitOptions)
    assert job.images == ("gs://b/{date}/**", "more, and more.csv")
    assert (str(job.max_failures), job.max_bytes, job.top_k, where.labels) == ("1%", 1_000_000, 3, ("a=b",))
    assert (job.normalize, job.probabilities, parsed.option(Figures).images_per_second) == (True, False, 2.5)
    assert parsed.beam == ["--runner=FlinkRunner", "--experiments=one", "--experiments=two=2", "--no_use_public_ips"]


def test_the_command_line_wins(tmp_path: Path) -> None:
    text = 'images = ["a", "b"]\noutput = "out"\ntop-k = 3\nnormalize = true\nno-public-ips = true\n'
    file = written(tmp_path, f'{text}[beam]\nrunner = "FlinkRunner"\nexperiments = ["one"]\n')
    given = ["--images=c", "--top-k", "7", "--no-normalize", "--public-ips", "--runner=Prism", "--experiments", "two"]
    parsed, _ = night(*given, "--config", file)
    job = parsed.option(RunOptions)
    assert (job.images, job.output, job.top_k) == (("c",), "out", 7)
    assert (job.normalize, parsed.option(SubmitOptions).no_public_ips) == (False, False)
    assert parsed.beam == ["--runner=Prism", "--experiments", "two"]


def test_the_file_of_the_folder_is_read_where_there_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert night("--output", "o")[1] is None
    (tmp_path / "beamsight.toml").write_text("nonsense", encoding="utf-8")
    with pytest.raises(UsageError, match=r"beamsight\.toml is not valid TOML"):
        night()
    other = written(tmp_path, NEEDED)
    assert night("--config", other)[1] == other


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("clasifier = 'none'", ["unknown option clasifier", "did you mean 'classifier'?"]),
        ("runner = 'DataflowRunner'", ["runner", "an option of Beam", "[beam]"]),
        ("whatever_this_is = 1", ["whatever_this_is", "--help"]),
        ("[bean]\nrunner = 'x'", ["bean", "[beam]"]),
        ("beam = 3", ["[beam]"]),
        ("[beam]\nruner = 'x'", ["runer", "did you mean '--runner'?"]),
        ("[beam]\nnum_workers = 'many'", ["num_workers", "many"]),
        ("[beam]\nexperiments = [[1]]", ["experiments", "[1]", "texts and numbers"]),
        ("[beam]\nnum_workers = [1, 2]", ["[beam] num_workers = [1, 2]", "without a list"]),
        ("[beam]\nproject = {id = 'p'}", ["[beam] project = {'id': 'p'}", "instead of a table"]),
        ("[beam]\nlabel = ['a=b']\nlabels = ['c=d']", ["[beam] labels is given twice"]),
        ("[beam]\nuse_public_ips = false\nno-use-public-ips = false", ["no-use-public-ips is given twice"]),
        ("output = ''", ["output = ''", "is empty"]),
        ("top-k = 0", ["top-k = 0", "too small"]),
        ("date = 2026-11-20", ["date", "--date on the command line"]),
        ("dry-run = true", ["--dry-run on the command line"]),
        ("normalize = 'yes'", ["normalize", "true or false"]),
        ("top-k = [1, 2]", ["top-k", "one value instead of a list"]),
        ("top-k = true", ["top-k = True"]),
        ("top-k = 1\ntop_k = 2", ["top_k is given twice"]),
        ("top-k = {a = 1}", ["top-k"]),
        ("top-k = = 1", ["is not valid TOML", "line 1"]),
    ],
)
def test_what_is_wrong_is_named(
    text: str, words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = written(tmp_path, text)
    for command in (["config", "check", file], ["nightly", "--config", file]):
        assert app.main(command) == codes.WRONG_USE
        said = capsys.readouterr()
        assert said.out == ""
        assert said.err.startswith(f"beamsight: {file}")
        assert said.err.count("\n") == 1
        for word in words:
            assert word in said.err


def test_all_that_is_wrong_is_named_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = "clasifier = 'none'\ntop-k = 0\nthreads = 'many'\n[beam]\nruner = 'x'\nnum_workers = [1]\n"
    file = written(tmp_path, text)
    assert app.main(["config", "check", file]) == codes.WRONG_USE
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 5
    for line, word in zip(lines, ("clasifier", "top-k", "threads", "[beam] runer", "[beam] num_workers"), strict=True):
        assert line.startswith(f"beamsight: {file}: ")
        assert word in line


def test_the_command_line_replaces_another_name_of_the_same_option(tmp_path: Path) -> None:
    file = written(tmp_path, NEEDED + "[beam]\nuse_public_ips = true\nlabel = ['a=b']\nnum_workers = 3\n")
    parsed, _ = night("--config", file, "--no_use_public_ips", "--labels=c=d")
    assert parsed.beam == ["--num_workers=3", "--no_use_public_ips", "--labels=c=d"]


def test_a_file_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main(["config", "check", "nowhere.toml"]) == codes.WRONG_USE
    assert "nowhere.toml cannot be read: No such file" in capsys.readouterr().err


def test_check_says_what_would_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = written(tmp_path, 'images = ["in/{yesterday:%Y%m%d}/**"]\noutput = "out"\ntop_k = 3\n')
    assert app.main(["config", "check", file]) == codes.DONE
    yesterday = datetime.now(timezone.utc).date() - timedelta(days=1)
    assert capsys.readouterr().out.splitlines()[2:5] == [
        f"  --images=in/{yesterday:%Y%m%d}/**",
        "  --output=out",
        "  --top-k=3",
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (NEEDED.replace("in/", "{day}/"), "{day} is not a day"),
        (NEEDED + 'max-failures = "few"', "'few'"),
        (NEEDED + 'time-zone = "Mars"', "--time-zone Mars"),
        (NEEDED + "max-workers = 3", "--max-workers is for a job on Dataflow"),
        (NEEDED + '[beam]\nrunner = "DataflowRunner"', "copy it to a bucket"),
        ('images = "gs://b/a"\noutput = "gs://b/out"\n[beam]\nrunner = "DataflowRunner"', "--project"),
    ],
)
def test_check_looks_at_values_too(text: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main(["config", "check", written(tmp_path, text)]) == codes.WRONG_USE
    assert words in capsys.readouterr().err
