"""The help, the reference made from it, and what the shell completes."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from beamsight import options
from runners.cli import app, codes, reference
from runners.cli.parser import Command

ROOT = Path(__file__).parents[3]


def test_the_reference_is_what_the_commands_declare() -> None:
    text = (ROOT / "docs" / "options.md").read_text(encoding="utf-8")
    assert text == reference.to_markdown(), "run `make generated`"


@pytest.mark.parametrize("command", app.COMMANDS, ids=lambda command: command.name.replace(" ", "-"))
def test_every_command_has_help(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        app.main([*command.name.split(), "--help"])
    assert stopped.value.code == codes.DONE
    shown = capsys.readouterr().out
    assert shown.startswith(f"usage: beamsight {command.name}")
    for each in options.of(*command.options):
        assert each.help[0].isupper(), each.help
        assert not each.help.endswith("."), each.help
        assert "".join(each.described.split()) in "".join(shown.split())
    assert "%%" not in shown
    assert "likewise" not in shown


def test_help_and_version_import_nothing_heavy() -> None:
    program = (
        "import sys\nfrom runners.cli import app\n"
        "try:\n    app.main(sys.argv[1:])\nexcept SystemExit:\n    pass\n"
        "heavy = {'apache_beam', 'google.auth', 'numpy', 'pyarrow', 'PIL', 'openvino', 'tensorflow', 'rich'}\n"
        "print(sorted(heavy & sys.modules.keys()))"
    )
    for words in (["--version"], ["--help"], ["run", "--help"], ["nightly", "--help"]):
        done = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True, check=True)
        assert done.stdout.splitlines()[-1] == "[]", words


def completion(shell: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert app.main(["completion", shell]) == codes.DONE
    return capsys.readouterr().out


def test_bash_completes_commands_and_options(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script = tmp_path / "completion.bash"
    script.write_text(completion("bash", capsys), encoding="utf-8")

    def complete(*words: str) -> list[str]:
        line = f"COMP_WORDS=({' '.join(words)}); COMP_CWORD={len(words) - 1}"
        function = "$(complete -p beamsight | sed 's/.*-F \\([^ ]*\\).*/\\1/')"
        program = f"source {script}; {line}; {function}; printf '%s\\n' \"${{COMPREPLY[@]}}\""
        return subprocess.run(["bash", "-c", program], capture_output=True, text=True, check=True).stdout.split()

    assert {"run", "report"} <= set(complete("beamsight", "r"))
    assert "--images" in complete("beamsight", "run", "--im")
    assert complete("beamsight", "models", "qu") == ["quantize"]


@pytest.mark.skipif(not shutil.which("zsh"), reason="no zsh here; apt-get install zsh")
def test_zsh_takes_the_script(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script = tmp_path / "_beamsight"
    script.write_text(completion("zsh", capsys), encoding="utf-8")
    program = f"autoload -Uz compinit && compinit -u -d {tmp_path}/dump; source {script}; whence -w _shtab_beamsight"
    done = subprocess.run(["zsh", "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "_shtab_beamsight: function", done.stderr


def test_a_reader_that_stops_early_ends_the_command_quietly() -> None:
    command = f"set -o pipefail; {sys.executable} -m beamsight models list | head -1"
    done = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (codes.DONE, "")
    assert done.stdout.count("\n") == 1
