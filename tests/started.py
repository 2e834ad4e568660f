"""The command in a process of its own, which is forked from one that has all modules imported.

A new process takes seconds to import them. Where the start of the command is not the point, a fork is as good.
"""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(
    ["apache_beam", "pyarrow.parquet", "pipelines.catalog", "runners.jobs.run", "transforms.imaging.opening"]
)


class Running:
    """The command at work. It has the methods of ``subprocess.Popen`` that tests need.

    Args:
        words: The words of the command.
        prepare: Called in the new process before the command. It has to be a function of a module, or a partial of one.
    """

    def __init__(self, words: Sequence[str], prepare: Callable[[], None] | None = None) -> None:
        descriptor, name = tempfile.mkstemp(suffix=".stderr")
        os.close(descriptor)
        self._errors = Path(name)
        self._process = _FORKS.Process(target=_work, args=([*words], dict(os.environ), name, prepare))
        self._process.start()
        self.pid = self._process.pid or 0

    @property
    def returncode(self) -> int | None:
        """The exit code, or the negative number of the signal that ended the process."""
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        code = self._process.exitcode
        if code is None:
            raise subprocess.TimeoutExpired("beamsight", timeout or 0)
        return code

    def communicate(self, timeout: float | None = None) -> tuple[None, str]:
        """Wait for the end, and return what the command wrote to stderr."""
        self.wait(timeout)
        return None, self._errors.read_text(encoding="utf-8")

    def send_signal(self, number: int) -> None:
        if self._process.is_alive():
            os.kill(self.pid, number)

    def kill(self) -> None:
        self._process.kill()


def _work(words: list[str], environment: dict[str, str], errors: str, prepare: Callable[[], None] | None) -> None:
    os.environ.clear()
    os.environ.update(environment)
    os.dup2(os.open(errors, os.O_WRONLY | os.O_APPEND), 2)
    sys.argv = ["beamsight", *words]
    from runners.cli import app

    if prepare is not None:
        prepare()
    app.entry()
