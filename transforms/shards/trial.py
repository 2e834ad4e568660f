"""Read a shard in a child process, so that a file that crashes its reader does not end the worker.

pyarrow ends the process at some damaged Parquet files. So a shard that was in progress when a process died is tried out
first. This reads it twice, and happens at most once for each worker of a run that was killed.
"""

from __future__ import annotations

import pickle
import signal
import subprocess
import sys
from contextlib import suppress

from transforms.errors import Fatal, ImageError, Stopped
from transforms.shards.container import ShardOptions
from transforms.shards.opening import open_shard

_TRIES = 2  # Something else can end a child once, but hardly twice at the same shard.
_STOPS = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP})  # sent on purpose, by a person or a service manager

_PROGRAM = "import sys; sys.path[:] = {path!r}; from transforms.shards import trial; trial.serve()"


def require_harmless(uri: str, version: str | None, options: ShardOptions) -> None:
    """Read a whole shard in a child process.

    Raises:
        Fatal: The shard ends the process.
        Stopped: The process was stopped.
    """
    code = 0
    for _ in range(_TRIES):
        done = subprocess.run(
            [sys.executable, "-c", _PROGRAM.format(path=sys.path)],
            input=pickle.dumps((uri, version, options)),
            stdout=subprocess.DEVNULL,
            start_new_session=True,
            check=False,
        )
        code = done.returncode
        if code >= 0:  # An error of Python is raised again when the shard is read.
            return
        if -code in _STOPS:
            raise Stopped("the process that tries out a shard was stopped")
    raise Fatal(f"{uri} ended the process that read it, with signal {signal.Signals(-code).name}", version=version)


def serve() -> None:
    """Read the shard that stdin names. Runs in the child."""
    container, _ = open_shard(*pickle.load(sys.stdin.buffer))
    for member in container.members():
        if member.fault is None:
            with suppress(ImageError):  # It becomes a failure when the image is processed.
                container.read(member)
