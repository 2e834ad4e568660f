"""Read shards in a child process, so that a file that crashes its reader does not end the worker.

pyarrow ends the process at some damaged Parquet files. So shards that were in progress when a process died are tried
out first. This reads them twice, and happens at most once for each worker of a run that was killed.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress

from transforms.errors import Fatal, ImageError, Stopped
from transforms.records import ImageRef
from transforms.shards.container import ShardOptions
from transforms.shards.opening import open_shard

_TRIES = 2  # Something else can end a child once, but hardly twice at the same shard.
_STOPS = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP})  # sent on purpose, by a person or a service manager
_SECONDS = 0.2  # between two looks at a request to stop

_PROGRAM = "import sys; sys.path[:] = {path!r}; from transforms.shards import trial; trial.serve()"


def find_fatal(shards: Iterable[ImageRef], options: ShardOptions, check_stop: Callable[[], None]) -> dict[str, Fatal]:
    """Read whole shards in a child process. Return those that end it, by URI, each with its error.

    Args:
        shards: The shards.
        options: How to find their images.
        check_stop: Called often. Its exception ends the child.

    Raises:
        Stopped: The child was stopped.
    """
    found: dict[str, Fatal] = {}
    left = list(shards)
    deaths = 0  # of children in a row, at the first shard that is left
    while left:
        code, harmless = _run(left, options, check_stop)
        left = left[harmless:]
        if code >= 0 or not left:
            break
        if -code in _STOPS:
            raise Stopped("the process that tries out shards was stopped")
        deaths = 1 if harmless else deaths + 1
        if deaths == _TRIES:
            shard = left.pop(0)
            reason = f"{shard.uri} ended the process that read it, with signal {signal.Signals(-code).name}"
            found[shard.uri] = Fatal(reason, version=shard.version)
            deaths = 0
    return found


def _run(shards: list[ImageRef], options: ShardOptions, check_stop: Callable[[], None]) -> tuple[int, int]:
    """Return the exit code of a child, and the number of shards that it has read."""
    program = [sys.executable, "-c", _PROGRAM.format(path=sys.path)]
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True) as child:
        try:
            with suppress(BrokenPipeError), child.stdin as pipe:  # type: ignore[union-attr]  # it is a pipe
                pickle.dump((shards, options), pipe)
            while child.poll() is None:
                check_stop()
                with suppress(subprocess.TimeoutExpired):
                    child.wait(_SECONDS)
        except BaseException:
            child.kill()
            raise
        return child.returncode, len(child.stdout.read())  # type: ignore[union-attr]


def serve() -> None:
    """Read the shards that stdin names, and write a byte to stdout after each. Runs in the child."""
    answers = os.dup(1)
    os.dup2(2, 1)  # what a library prints must not get between the answers
    shards, options = pickle.load(sys.stdin.buffer)
    for shard in shards:
        with suppress(Exception):  # It is raised again when the shard is read in the worker.
            _read(shard, options)
        os.write(answers, b".")


def _read(shard: ImageRef, options: ShardOptions) -> None:
    container, _ = open_shard(shard.uri, shard.version, options)
    for member in container.members():
        if member.fault is None:
            with suppress(ImageError):
                container.read(member)
    container.close()
