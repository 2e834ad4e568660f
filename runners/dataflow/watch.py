"""Show the counters of a job on Dataflow until it ends."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any, TextIO

from apache_beam.runners.dataflow.dataflow_runner import DataflowRunner
from google.api_core.exceptions import GoogleAPICallError
from google.auth.exceptions import GoogleAuthError

from runners.dataflow import job_state
from runners.dataflow.sending import Job
from runners.jobs.progress import Progress
from runners.lock.holder import Holder
from transforms import counts
from transforms.counts import Tally
from transforms.errors import BeamsightError

LOOK_SECONDS = 15.0  # between reads of the counters, which workers report every few seconds
PIPE_SECONDS = 60.0  # between lines on a pipe


class JobEnded(BeamsightError):
    """The job failed or was cancelled."""


class LostContact(BeamsightError):
    """Dataflow does not answer. The job may continue."""


def watch(job: Job, tables: tuple[str, ...], stream: TextIO | None, endpoint: str | None = None) -> None:
    """Show the counters of the job until it ends.

    Args:
        job: The job.
        tables: Folders of the tables that the job fills.
        stream: Where to show the counters; None shows nothing.
        endpoint: A server other than Google's.

    Raises:
        JobEnded: Dataflow says that the job has ended without success.
        LostContact: Dataflow did not say that the job has ended.
    """
    counters = JobCounters(job, tables)
    with Progress(counters, stream, look_seconds=LOOK_SECONDS, pipe_seconds=PIPE_SECONDS):
        while (state := _wait(job, endpoint)) not in job_state.ENDED:
            time.sleep(LOOK_SECONDS)
    if state == "CANCELLED":
        raise JobEnded(f"the job {job.job_id} was cancelled")
    if state != "DONE":
        why = getattr(job.runner, "last_error_msg", None) or "Dataflow gives no reason"
        raise JobEnded(f"the job {job.job_id} ended in the state {state}: {why}")


def _wait(job: Job, endpoint: str | None) -> str:
    """Wait until the job has ended or cannot be observed. Return its state. Raises LostContact."""
    try:
        # Beam's PipelineResult.wait_until_finish calls this in a thread, and takes its errors for the end of the job.
        DataflowRunner.poll_for_job_completion(job.runner, job.result, None)
        return str(job.result.state)
    except Exception as error:  # Beam has retried what may be transient. Only Dataflow can say that the job has ended.
        holder = Holder(job={"project": job.project, "region": job.region, "id": job.job_id})
        status = job_state.ask(holder, endpoint)
        if status is None:
            raise LostContact(f"{type(error).__name__}: {' '.join(str(error).split())}") from error
        return status.state


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
        except (GoogleAPICallError, GoogleAuthError, OSError):
            return self._last
        tally: Tally = Counter()
        for metric in counters:
            if metric.key.metric.namespace == counts.NAMESPACE and (key := self._keys.get(metric.key.metric.name)):
                tally[key] += metric.attempted if metric.attempted is not None else metric.committed or 0
        self._last = tally
        return tally
