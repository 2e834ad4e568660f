"""A job that stops early: the reason, the run report, and the exception to raise."""

from __future__ import annotations

import re
import traceback
from datetime import datetime, timezone
from typing import Any, Literal, TextIO

from beamsight.reports import run_report
from runners.jobs.interrupts import Interrupted
from runners.lock import cleanup
from runners.lock.lock import Lock
from transforms import errors, run_state
from transforms.errors import BeamsightError

_INTERRUPTED: Literal["interrupted"] = "interrupted"


class RunFailed(BeamsightError):
    """The job stopped early. Finished images are in the tables, and the next run continues with the others."""


class WatchEnded(BeamsightError):
    """The command was interrupted while it watched a remote job, which continues. code: The exit code."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


def record_stop(
    error: BaseException, run_: run_report.Run, held: Lock, stream: TextIO
) -> tuple[dict[str, Any], BaseException]:
    """Write the report of a job that stopped early.

    Args:
        error: The exception that stopped the job.
        run_: The run.
        held: The lock of the output. If it was lost, that is the reason.
        stream: Receives a message if the report cannot be written.

    Returns:
        The report, and the exception to raise: KeyboardInterrupt or RunFailed.
    """
    why = held.lost or reason(error)
    interrupted = held.lost is None and why.startswith(_INTERRUPTED)
    now = datetime.now(timezone.utc)
    state: run_report.State = _INTERRUPTED if interrupted else "failed"
    report = run_report.compose(run_state.of(run_.run_id).finished.snapshot(), run_, now, state, why)
    try:
        run_report.put(report, run_.uri)
    except BeamsightError as write_error:
        stream.write(f"beamsight: could not write the report of the run: {write_error}\n")
    if interrupted:
        return report, error if isinstance(error, KeyboardInterrupt) else KeyboardInterrupt(why)
    if held.lost is None:
        cleanup.clean(run_.output, held.since, stream)
    failed = RunFailed(why)
    failed.__cause__ = error
    return report, failed


def reason(error: BaseException) -> str:
    """Return in one line why a job stopped. Beam turns errors of workers into text that contains their tracebacks."""
    if isinstance(error, Interrupted):
        return str(error)
    if "KeyboardInterrupt" in f"{type(error).__name__}: {error}":
        return _INTERRUPTED
    names = "|".join(name for name, kind in vars(errors).items() if isinstance(kind, type))
    lines = "".join(traceback.format_exception_only(type(error), error)).strip().splitlines()
    for line in reversed(lines):
        match = re.search(rf"\b(?:transforms\.errors\.)?(?:{names}): (.+)", line)
        if match:
            return match[1].removesuffix("\\n").split(" [while running")[0]
    return next((line.strip() for line in reversed(lines) if line.strip()), type(error).__name__)
