"""How a run ends that does not come to its end: what stopped it, what its report says, what is raised."""

from __future__ import annotations

import re
import traceback
from datetime import datetime, timezone
from typing import Any, Literal, TextIO

from beamsight.reports import run_report
from runners.jobs.interrupts import Interrupted
from runners.lock import cleanup
from runners.lock.lock import Lock
from transforms import counts, errors
from transforms.errors import BeamsightError

_INTERRUPTED: Literal["interrupted"] = "interrupted"


class RunFailed(BeamsightError):
    """The job stopped before its end. What it had finished is in the tables, and the next run goes on from there."""


class WatchEnded(BeamsightError):
    """The command was interrupted while it watched a job elsewhere, which goes on. code: to exit with."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


def record_stop(
    error: BaseException, run_: run_report.Run, held: Lock, stream: TextIO
) -> tuple[dict[str, Any], BaseException]:
    """What stopped a job -> its report, and what is to be raised."""
    why = held.lost or reason(error)
    interrupted = held.lost is None and why.startswith(_INTERRUPTED)
    now = datetime.now(timezone.utc)
    state: run_report.State = _INTERRUPTED if interrupted else "failed"
    ended = run_report.compose(counts.KEPT.snapshot(), run_, now, state, why)
    try:
        run_report.put(ended, run_.uri)
    except BeamsightError as unwritten:
        stream.write(f"beamsight: the report of the run could not be written: {unwritten}\n")
    if interrupted:
        return ended, error if isinstance(error, KeyboardInterrupt) else KeyboardInterrupt(why)
    if held.lost is None:
        cleanup.clean(run_.output, held.since, stream)
    failed = RunFailed(why)
    failed.__cause__ = error
    return ended, failed


def reason(error: BaseException) -> str:
    """What stopped a job, in one line. Beam wraps errors of workers into text with their tracebacks in it."""
    if isinstance(error, Interrupted):
        return str(error)
    if "KeyboardInterrupt" in f"{type(error).__name__}: {error}":
        return _INTERRUPTED
    ours = "|".join(name for name, kind in vars(errors).items() if isinstance(kind, type))
    lines = "".join(traceback.format_exception_only(type(error), error)).strip().splitlines()
    for line in reversed(lines):
        match = re.search(rf"\b(?:transforms\.errors\.)?(?:{ours}): (.+)", line)
        if match:
            return match[1].removesuffix("\\n").split(" [while running")[0]
    return next((line.strip() for line in reversed(lines) if line.strip()), type(error).__name__)
