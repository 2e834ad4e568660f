"""A job that stops early: the reason, the run report, and the exception to raise."""

from __future__ import annotations

import re
import traceback
from collections.abc import Mapping
from datetime import datetime, timezone
from functools import partial
from typing import Any, Literal, TextIO

from beamsight.reports import run_report
from runners.jobs.interrupts import Interrupted
from runners.lock import cleanup
from runners.lock.lock import Lock
from transforms import errors, run_state, time_limit
from transforms.errors import BeamsightError

REPORT_SECONDS = 5.0  # for the report of an interrupted run

_INTERRUPTED: Literal["interrupted"] = "interrupted"


class RunFailed(BeamsightError):
    """The job stopped early. Finished images are in the tables, and the next run continues with the others."""


class WatchEnded(BeamsightError):
    """The command ended before a remote job, which continues or may continue.

    code: The exit code: that of an interruption, or 3 where the command cannot observe the job.
    """

    def __init__(self, message: str, interruption: KeyboardInterrupt | None = None) -> None:
        super().__init__(message)
        self.code = getattr(interruption, "code", 130) if interruption is not None else 3


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
    put_report(report, run_, stream)
    if interrupted:
        return report, error if isinstance(error, KeyboardInterrupt) else KeyboardInterrupt(why)
    if held.lost is None:
        cleanup.clean(run_.output, held.since, stream)
    failed = RunFailed(why)
    failed.__cause__ = error
    return report, failed


def put_report(report: Mapping[str, Any], run_: run_report.Run, stream: TextIO) -> None:
    """Write the last report of a run. An interrupted command waits only ``REPORT_SECONDS`` for the storage."""
    put = partial(run_report.put, report, run_.uri)
    try:
        time_limit.call(put, REPORT_SECONDS) if report["state"] == _INTERRUPTED else put()
    except BeamsightError as error:
        stream.write(f"beamsight: could not write the report of the run: {error}\n")


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
