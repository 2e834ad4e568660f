"""Send a job and hand the lock of the output over to it, so that no job runs without a lock that names it.

The lock names the job before the request that creates it is sent. After that, the lock is released only if Dataflow
says that there is no such job.
"""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NoResult
from contextlib import suppress
from functools import partial
from typing import TextIO

from apache_beam.options.pipeline_options import GoogleCloudOptions, PipelineOptions

from pipelines.catalog import WriteReport
from pipelines.options import CatalogOptions
from runners.dataflow import job_state, sending, stockout
from runners.dataflow.sending import Job, Unconfirmed
from runners.jobs.ending import WatchEnded
from runners.lock.holder import PENDING, Holder
from runners.lock.lock import Lock
from transforms import time_limit
from transforms.errors import BeamsightError, Locked, Stopped, Unreadable, UsageError

ANSWER_SECONDS = 5.0  # for each answer that an interrupted command still waits for

_POLL_SECONDS = 0.2


def send(
    options: CatalogOptions,
    beam: PipelineOptions,
    write_report: WriteReport,
    held: Lock,
    stream: TextIO,
    machine_type: str,
) -> Job | None:
    """Send a job, and hand the lock over to it.

    Args:
        options: What the graph is built from.
        beam: Beam's options. A missing job name is added.
        write_report: The last step of the graph.
        held: The lock of the output.
        stream: Receives a message if the lock cannot name the id of the job.
        machine_type: The type of the machines that run the models. The lock names it too.

    Returns:
        The job, or None if Beam's ``--template_location`` is set: a launcher starts the job later.

    Raises:
        UsageError, Locked, KeyboardInterrupt: There is no job. The end of the block releases the lock.
        WatchEnded: The job exists, or may exist, and keeps the lock.
    """
    cloud = beam.view_as(GoogleCloudOptions)
    cloud.job_name = cloud.job_name or f"beamsight-{options.settings.run_id.lower()}"
    job = {"project": cloud.project, "region": cloud.region, "name": cloud.job_name}
    job[stockout.MACHINE_TYPE] = machine_type
    gate = _Gate(partial(held.name_job, job))
    future = time_limit.start(partial(sending.send, options, beam, write_report, gate.open))
    interruption: KeyboardInterrupt | None = None
    unconfirmed: Unconfirmed | None = None
    try:
        try:
            sent = _result(future)
        except KeyboardInterrupt as error:
            if gate.close():
                if held.lost:
                    raise Locked(held.lost) from error
                raise
            interruption = error
            sent = _result(future, ANSWER_SECONDS)
    except Unconfirmed as error:
        unconfirmed = error
        sent = _find(job, cloud.dataflow_endpoint, error, interruption)
        if sent is None:
            held.take_back()
            raise UsageError(f"{error}; there is no job {cloud.job_name}, so try again") from error
    except BaseException:
        held.take_back()
        raise
    name_id = partial(held.hand_over, job | ({"id": sent.job_id} if sent is not None else {}))
    if sent is None:
        name_id()
        return None
    try:
        time_limit.call(name_id, ANSWER_SECONDS) if interruption else name_id()
    except BeamsightError as error:
        stream.write(f"beamsight: the lock names the job {cloud.job_name} without its id: {error}\n")
    except KeyboardInterrupt as error:
        interruption = error
    if interruption or unconfirmed:
        why = str(interruption or unconfirmed) or "interrupted"
        raise WatchEnded(f"{why}. {sent.continues}", interruption)
    return dataclasses.replace(sent, machine_type=machine_type)


class _Gate:
    """Lets the request that creates the job pass, unless the command was interrupted before."""

    def __init__(self, name_job: Callable[[], None]) -> None:
        self._name_job = name_job
        self._mutex = threading.Lock()
        self._is_closed = self._has_passed = False

    def open(self) -> None:
        """Name the job in the lock. Raises an error if the request must not be sent."""
        self._name_job()
        with self._mutex:
            if self._is_closed:
                raise Stopped("interrupted before the job was created")
            self._has_passed = True

    def close(self) -> bool:
        """Return whether the request was not sent, and never will be."""
        with self._mutex:
            self._is_closed = True
            return not self._has_passed


def _result(future: Future[Job | None], seconds: float = float("inf")) -> Job | None:
    """Return the result of sending a job. Raises Unconfirmed if there is none in time."""
    end = time.monotonic() + seconds
    while not future.done():
        if time.monotonic() > end:
            raise Unconfirmed("Dataflow has not confirmed the job yet")
        with suppress(NoResult):  # A wait without a timeout may miss a signal.
            future.result(_POLL_SECONDS)
    return future.result()


def _find(
    job: Mapping[str, str], endpoint: str | None, error: Unconfirmed, interruption: KeyboardInterrupt | None
) -> Job | None:
    """Look for a job that Dataflow did not confirm.

    Returns:
        The job, or None if there is none.

    Raises:
        WatchEnded: There may be a job, now or soon.
    """
    ask = partial(job_state.ask, Holder(job={**job, **PENDING}), endpoint)
    status = None
    try:
        status = time_limit.call(ask, ANSWER_SECONDS) if interruption else ask()
    except Unreadable:
        pass
    except KeyboardInterrupt as another:
        interruption = another
    if status is not None and status.is_active:
        return Job(status.job_id, job["region"], job["project"])
    if status is not None and interruption is None:
        return None
    raise WatchEnded(
        f"{error}. There may be a job {job['name']}: look at https://console.cloud.google.com/dataflow/jobs?"
        f"project={job['project']}. It keeps the lock of the output until it has ended",
        interruption,
    )
