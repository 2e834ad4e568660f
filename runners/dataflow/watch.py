"""Watch a job on Dataflow until it ends: its counters, and its cost."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from datetime import datetime, timezone
from typing import Any, TextIO

from apache_beam.runners.dataflow.dataflow_runner import DataflowRunner
from google.api_core.exceptions import GoogleAPICallError
from google.auth.exceptions import GoogleAuthError

from runners.dataflow import flexrs, job_state, stockout
from runners.dataflow.budget import Budget
from runners.dataflow.sending import Job
from runners.jobs import terminal
from runners.jobs.progress import Progress
from runners.lock.holder import Holder
from transforms import counts
from transforms.counts import Tally
from transforms.errors import BeamsightError

LOOK_SECONDS = 15.0  # between reads of the counters, which workers report every few seconds
PIPE_SECONDS = 60.0  # between lines on a pipe
COST_SECONDS = 60.0  # between reads of the cost, which Dataflow updates every few minutes

_UNREACHABLE = (GoogleAPICallError, GoogleAuthError, OSError)
_SERVICE = "dataflow/v1b3"  # the origin of Dataflow's own metrics


class JobEnded(BeamsightError):
    """The job failed or was cancelled."""


class NoMachines(JobEnded):
    """The job failed because the region had no machines of its type."""


class TooExpensive(JobEnded):
    """The job was cancelled because it cost more than its budget."""


class LostContact(BeamsightError):
    """Dataflow does not answer. The job may continue."""


def watch(
    job: Job,
    tables: tuple[str, ...],
    stream: TextIO | None,
    endpoint: str | None = None,
    budget: Budget | None = None,
    on_start: Callable[[], None] = lambda: None,
) -> None:
    """Show the counters of the job until it ends.

    Args:
        job: The job.
        tables: Folders of the tables that the job fills.
        stream: Where to show the counters; None shows nothing.
        endpoint: A server other than Google's.
        budget: The job is cancelled when it has cost more. None for no limit.
        on_start: Called when a job starts that was queued.

    Raises:
        JobEnded: Dataflow says that the job has ended without success.
        LostContact: Dataflow did not say that the job has ended.
    """
    counters, queue, guard = JobCounters(job, tables), _Queue(on_start), _Guard(job, budget)
    with ExitStack() as stack:
        if budget is not None:
            stack.enter_context(terminal.every(COST_SECONDS, guard.check))
        stack.enter_context(
            Progress(counters, stream, look_seconds=LOOK_SECONDS, pipe_seconds=PIPE_SECONDS, waiting=queue.describe)
        )
        while (state := _wait(job, endpoint, queue.enter)) not in job_state.ENDED:
            time.sleep(LOOK_SECONDS)
    if state == "CANCELLED":
        if guard.excess:
            raise TooExpensive(f"the job {job.job_id} was cancelled, because {guard.excess}")
        raise JobEnded(f"the job {job.job_id} was cancelled")
    if state != "DONE":
        place = {"project": job.project, "region": job.region, "id": job.job_id}
        if state == "FAILED" and stockout.is_stockout(job_state.list_errors(place, endpoint)):
            raise NoMachines(f"{job.region} has no machines of the type {job.machine_type}")
        why = getattr(job.runner, "last_error_msg", None) or "Dataflow gives no reason"
        raise JobEnded(f"the job {job.job_id} ended in the state {state}: {why}")


def _wait(job: Job, endpoint: str | None, on_state: Callable[[str], None]) -> str:
    """Wait until the job has ended or cannot be observed. Return its state. Raises LostContact."""
    try:
        # Beam's PipelineResult.wait_until_finish calls this in a thread, and takes its errors for the end of the job.
        DataflowRunner.poll_for_job_completion(job.runner, job.result, None, on_state)
        return str(job.result.state)
    except Exception as error:  # Beam has retried what may be transient. Only Dataflow can say that the job has ended.
        holder = Holder(job={"project": job.project, "region": job.region, "id": job.job_id})
        status = job_state.ask(holder, endpoint)
        if status is None:
            raise LostContact(f"{type(error).__name__}: {' '.join(str(error).split())}") from error
        return status.state


class _Queue:
    """The time that a FlexRS job spends in the queue."""

    def __init__(self, on_start: Callable[[], None]) -> None:
        self._began = datetime.now(timezone.utc)
        self._on_start = on_start
        self._is_queued = self._has_waited = False

    def enter(self, state: str) -> None:
        """Take note of a state that Dataflow reports, such as ``JOB_STATE_QUEUED``."""
        self._is_queued = state == f"JOB_STATE_{job_state.QUEUED}"
        if self._has_waited and state == "JOB_STATE_RUNNING":
            self._has_waited = False
            self._on_start()
        self._has_waited |= self._is_queued

    def describe(self) -> str:
        """Return what to show instead of the counters while the job is queued. Empty once it has started."""
        return flexrs.describe_start(self._began) if self._is_queued else ""


class _Guard:
    """Cancels the job when it has cost more than its budget.

    excess: How much the job had cost when it was cancelled. Empty before that.
    """

    def __init__(self, job: Job, budget: Budget | None) -> None:
        self.excess = ""
        self._job = job
        self._budget = budget

    def check(self) -> None:
        """Read the cost of the job, and cancel the job if it is too high. An error is left to the next time."""
        if self._budget is None or self.excess:
            return
        try:
            cost = self._budget.cost(_usage(self._job))
            if cost > self._budget.usd:
                self.excess = f"it has cost about {cost:,.2f} USD, more than --max-cost {self._budget.usd:g}"
                self._job.result.cancel()
        except Exception:  # The error may be transient. If this thread died, nothing would limit the cost.
            self.excess = ""


def _usage(job: Job) -> dict[str, float]:
    """Return Dataflow's own metrics of a job, such as ``TotalVcpuTime``.

    A metric has a committed and a tentative value. The higher one counts.
    """
    usage: dict[str, float] = {}
    for metric in job.runner.dataflow_client.get_job_metrics(job.job_id).metrics:
        if metric.name.origin == _SERVICE and isinstance(metric.scalar, int | float):
            usage[metric.name.name] = max(usage.get(metric.name.name, 0.0), metric.scalar)
    return usage


class JobCounters:
    """The counters of a job, as Dataflow reports them."""

    def __init__(self, job: Job, tables: tuple[str, ...]) -> None:
        self._result: Any = job.result
        self._keys = counts.keys_by_metric(tables)
        self._last: Tally = Counter()

    def snapshot(self) -> Tally:
        """Return the counts so far, by the keys of ``transforms.counts``; the last known ones if Dataflow fails."""
        try:
            counters = self._result.metrics().query()["counters"]
        except _UNREACHABLE:
            return self._last
        tally: Tally = Counter()
        for metric in counters:
            if metric.key.metric.namespace == counts.NAMESPACE and (key := self._keys.get(metric.key.metric.name)):
                tally[key] += metric.attempted if metric.attempted is not None else metric.committed or 0
        self._last = tally
        return tally
