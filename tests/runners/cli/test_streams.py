"""Streams that are closed or full, and an interrupt while the command starts: one line, and the right exit code."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import tables

from runners.cli import codes
from transforms.imaging import drawn

FULL = "/dev/full"

pytestmark = pytest.mark.skipif(not Path(FULL).exists(), reason="no /dev/full on this system")

# Sends SIGINT to this process when the module of the first argument is looked for, and runs the command.
INTERRUPTED = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a parent in the background ignores it
at = sys.argv.pop(1)
class Interrupt:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == at:
            sys.meta_path.remove(Interrupt)
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupt)
from beamsight.__main__ import main
main()
"""


def shell(command: str, *words: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command of the shell, in which $B is beamsight and $@ are the words."""
    environment = os.environ | {"B": f"{sys.executable} -m beamsight"}
    line = ["bash", "-c", command, "bash", *words]
    return subprocess.run(line, env=environment, cwd=folder, capture_output=True, text=True, check=False)


@pytest.fixture
def run(tmp_path: Path, tiny_classifier: str) -> list[str]:
    """The words of a run with two images."""
    (tmp_path / "in").mkdir()
    for number in range(2):
        (tmp_path / "in" / f"{number}.jpg").write_bytes(drawn.encode(drawn.draw(number, 40, 40)))
    models = ["--classifier", tiny_classifier, "--embedder", "none"]
    return ["run", "--images", str(tmp_path / "in"), "--output", str(tmp_path / "out"), *models]


@pytest.mark.parametrize("words", ["models list", "--help", "--version", "completion bash"])
def test_a_text_that_cannot_be_written_is_a_failure(words: str) -> None:
    done = shell(f"$B {words} > {FULL}")
    assert done.stderr == "beamsight: cannot write to stdout: No space left on device\n"
    assert done.returncode == codes.RUN_FAILED


def test_a_run_that_is_done_stays_done(run: list[str], tmp_path: Path) -> None:
    done = shell(f'$B "$@" > {FULL}', *run, "--expect-at-least=3")
    assert done.returncode == codes.TOO_FEW_IMAGES
    assert done.stderr.splitlines()[-1] == (
        "beamsight: the command is done, but its summary cannot be written to stdout: No space left on device"
    )
    assert "Traceback" not in done.stderr
    assert len(tables.rows(tmp_path / "out", "predictions", tmp_path)) == 2


@pytest.mark.parametrize("streams", [f"2> {FULL}", "<&- >&- 2>&-"])
def test_a_run_needs_no_stream_for_messages(run: list[str], streams: str, tmp_path: Path) -> None:
    assert shell(f'$B "$@" {streams}', *run).returncode == codes.DONE
    assert len(tables.rows(tmp_path / "out", "predictions", tmp_path)) == 2


@pytest.mark.parametrize("streams", [f"2> {FULL}", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_wrong_use_needs_no_stream_for_messages(streams: str) -> None:
    assert shell(f"$B rnu {streams}").returncode == codes.WRONG_USE


def test_no_file_gets_the_number_of_a_closed_stream() -> None:
    program = "import os; from beamsight.__main__ import _open_streams as o; o(); print(os.open('/dev/null', 0))"
    done = shell(f'{sys.executable} -c "{program}" <&- 2>&-')
    assert int(done.stdout) > 2


def test_a_name_that_the_terminal_cannot_show_is_no_failure(run: list[str], tmp_path: Path) -> None:
    (tmp_path / "in" / "é.jpg").write_bytes(b"no image")
    done = shell('PYTHONIOENCODING=ascii $B "$@"', *run, "--max-failures=1")
    assert (done.returncode, "\\xe9.jpg" in done.stdout) == (codes.DONE, True), done.stderr


@pytest.mark.parametrize(
    "module",
    [
        *("pathlib", "importlib.metadata", "runners.cli.app", "argparse", "runners.jobs.interrupts", "numpy"),
        *("apache_beam", "apache_beam.coders.coder_impl", "grpc", "pyarrow.lib", "pipelines.catalog"),
    ],
)
def test_an_interrupt_during_an_import_has_one_line(module: str, run: list[str]) -> None:
    command = [sys.executable, "-S", "-c", INTERRUPTED, module, *run]
    paths = os.pathsep.join(path for path in sys.path if path)
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": paths}, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (codes.INTERRUPTED, ""), done.stderr
    assert done.stderr.startswith("beamsight: interrupted")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("more", [[], ["--verbose"]])
def test_a_library_that_cannot_be_imported_has_one_line(more: list[str], tmp_path: Path) -> None:
    program = (
        "import sys\nfrom beamsight.__main__ import main\n"
        "sys.modules['argparse'] = None\n"  # which makes its import fail
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "run", *more], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == codes.RUN_FAILED
    assert done.stderr.splitlines()[-1].startswith("beamsight: cannot start: ModuleNotFoundError: import of argparse")
    assert ("Traceback" in done.stderr) is bool(more)
    assert done.stderr.count("\n") == 1 or more
