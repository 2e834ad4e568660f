"""Runs in processes of their own that die at a chosen change of a file.

A process with all modules imported forks a child for each run, which saves seconds a run.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from types import TracebackType
from typing import Any

PROGRAM = """
import json, os, re, signal, sys
from contextlib import contextmanager
import apache_beam, openvino, pyarrow.parquet
import pipelines.catalog, runners.jobs.run, transforms.imaging.opening
from runners.cli import app
from transforms.storage import files

def arm(pattern, number, before):
    left = [number]
    def change(uri, first):
        if first == before and re.search(pattern, uri):
            left[0] -= 1
            if left[0] == 0:
                print(json.dumps(uri), flush=True)
                os.kill(os.getpid(), signal.SIGKILL)
    def wrap(name):
        function = getattr(files, name)
        def wrapped(uri, *given, **named):
            change(uri, True)
            result = function(uri, *given, **named)
            change(uri, False)
            return result
        setattr(files, name, wrapped)
    for name in ("write", "delete"):
        wrap(name)
    create = files.create
    @contextmanager
    def created(uri):
        with create(uri) as file:
            yield file
            change(uri, True)
        change(uri, False)
    files.create = created

for line in sys.stdin:
    order = json.loads(line)
    child = os.fork()
    if not child:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        if order["kill"]:
            arm(*order["kill"])
        os._exit(app.main(order["arguments"]))
    _, status = os.waitpid(child, 0)
    print(json.dumps({"code": os.waitstatus_to_exitcode(status)}), flush=True)
"""


class Runs:
    """Starts one run after another. ``with`` ends the process that forks them."""

    def __enter__(self) -> Runs:
        self._process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.kill()
        self._process.communicate()

    def run(self, arguments: Sequence[str], kill: tuple[str, int, bool] | None = None) -> tuple[int, str | None]:
        """Run the command. Return its exit code, and the file at whose change it was killed.

        Args:
            arguments: Those of ``beamsight``.
            kill: A pattern of URIs; kill the run at so many changes of matching files; before or after the change.
        """
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"arguments": [*arguments], "kill": kill}) + "\n")
        self._process.stdin.flush()
        killed_at: str | None = None
        while True:
            said = self._read()
            if isinstance(said, dict):
                return said["code"], killed_at
            killed_at = said

    def _read(self) -> Any:
        assert self._process.stdout is not None
        while True:
            line = self._process.stdout.readline()
            assert line, "the process that starts the runs has ended"
            try:
                return json.loads(line)
            except ValueError:  # what the command prints
                continue
