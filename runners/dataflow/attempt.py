"""One attempt to run a job on Dataflow, on one type of machines: take the lock, send the job, and watch it."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import partial
from typing import Any, TextIO

from apache_beam.options.pipeline_options import GoogleCloudOptions, PipelineOptions

from beamsight.reports import recipes, run_report
from pipelines.options import CatalogOptions
from runners.dataflow import budget, checks, flexrs, hand_over, job_state, options, stockout, watch
from runners.dataflow.sending import Job
from runners.dataflow.submit_options import Figures, SubmitOptions
from runners.dataflow.watch import JobEnded, LostContact, NoMachines, TooExpensive
from runners.jobs import ending, interrupts, resolve
from runners.jobs.ending import RunFailed, WatchEnded
from runners.jobs.options import RunOptions
from runners.lock import cleanup, lock
from runners.lock.lock import Lock
from transforms.counts import Tally
from transforms.errors import BeamsightError


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked of each attempt.

    run: The options of the run, with models that are bundles in the bucket.
    where: The options of Dataflow.
    arguments: Beam's own options. They take precedence over ``where``.
    figures: Figures of the user, which replace the list prices.
    stream: Receives messages.
    shown: Where to show the progress; None shows nothing.
    """

    run: RunOptions
    where: SubmitOptions
    arguments: Sequence[str]
    figures: Figures
    stream: TextIO
    shown: TextIO | None

    def beam(self, machine_type: str) -> PipelineOptions:
        """Return Beam's options of a job whose models run on machines of a type."""
        return options.to_beam(self.on(machine_type), self.run.output, self.arguments)

    def on(self, machine_type: str) -> SubmitOptions:
        """Return the options of Dataflow for machines of one type."""
        return dataclasses.replace(self.where, machine_types=(machine_type,))


@dataclass(frozen=True, slots=True)
class Submitted:
    """A submitted job.

    job: None if a template's launcher starts it later.
    report: The run report, with ``--wait``.
    failure: Why the job failed, with ``--wait``.
    stockout: The type of the machines that the region did not have, which made the job fail.
    """

    run_id: str
    job: Job | None
    report: dict[str, Any] | None = None
    failure: RunFailed | None = None
    stockout: str | None = None


def run(request: Request, types: tuple[str, ...]) -> Submitted:
    """Send a job, and watch it if that is asked for.

    Args:
        request: What to send.
        types: The machine types to try, in this order. This attempt is for the first one, or for the one after a type
            that an earlier job did not get.

    Raises:
        UsageError: A check failed, and nothing was sent.
        Locked: Another run holds the lock of the output.
        WatchEnded: The command was interrupted.
    """
    beam, stream = request.beam(types[0]), request.stream
    gpu = options.gpu_of(request.where, beam) is not None
    job, run_ = resolve.resolve(request.run, beam, gpu=gpu)
    checks.require_engine(job.recipes, beam, gpu=gpu)
    endpoint = beam.view_as(GoogleCloudOptions).dataflow_endpoint
    sent: Job | None = None
    try:
        with _hold(run_, beam, stream) as held:
            machine_type = stockout.first_type(types, held.previous, endpoint)
            if machine_type != types[0]:
                stream.write(f"beamsight: the job before found no machines of its type; trying {machine_type}\n")
                beam = request.beam(machine_type)
            job = dataclasses.replace(job, accelerator=options.accelerator_of(request.on(machine_type), beam))
            sent = _send(job, run_, beam, held, stream, machine_type)
    except KeyboardInterrupt as error:
        if sent is None:
            raise
        raise WatchEnded(f"interrupted. {sent.continues}", error) from error
    if sent is not None and options.is_flexrs(beam):
        sent = dataclasses.replace(sent, start=flexrs.describe_start(datetime.now(timezone.utc)))
    if sent is None or not request.where.wait:
        return Submitted(run_.run_id, sent)
    print(sent, file=stream, flush=True)
    limit = budget.make_budget(request.on(sent.machine_type), beam, request.figures)
    return _wait(sent, run_, request, endpoint, limit)


def _hold(run: run_report.Run, beam: PipelineOptions, stream: TextIO) -> AbstractContextManager[Lock]:
    still_runs = job_state.make_still_runs(beam)
    return lock.hold(
        run.output, "beamsight submit", stream, run_id=run.run_id, still_runs=still_runs, on_lost=interrupts.stop_work
    )


def _send(
    job: CatalogOptions, run: run_report.Run, beam: PipelineOptions, held: Lock, stream: TextIO, machine_type: str
) -> Job | None:
    """Write the report of the start, and send the job with the lock held."""
    cleanup.close_killed(run.output, run.run_id)
    for line in recipes.explain_new(run.output, job.recipes):
        stream.write(f"beamsight: {line}\n")
    run_report.write(Counter(), run, "queued" if options.is_flexrs(beam) else "running")
    try:
        last_step = partial(report_and_release, run=run)
        return hand_over.send(job.with_lock(held.token), beam, last_step, held, stream, machine_type)
    except WatchEnded:
        raise  # The job exists, or may exist, and writes the report.
    except (Exception, KeyboardInterrupt) as error:
        state: run_report.State = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
        ending.put_report(_compose(Counter(), run, state, str(error)), run, stream)
        raise


def _compose(tally: Tally, run: run_report.Run, state: run_report.State, error: str) -> dict[str, Any]:
    return run_report.compose(tally, run, datetime.now(timezone.utc), state, error)


def report_and_release(tally: Tally, run: run_report.Run) -> None:
    """Write the report and release the lock: the last step of a job, on a worker.

    If the lock cannot be released, the next run finds that its job has ended, and takes it over.
    """
    run_report.write(tally, run)
    with suppress(BeamsightError):
        lock.release(run.output, run.run_id)


def _wait(
    job: Job, run: run_report.Run, request: Request, endpoint: str | None, limit: budget.Budget | None
) -> Submitted:
    """Watch the job until it ends. Only a job of which Dataflow says that it has ended loses the lock."""
    tables = tuple(run.models)
    try:
        watch.watch(job, tables, request.shown, endpoint, limit, partial(_report_start, run))
    except KeyboardInterrupt as error:
        raise WatchEnded(f"stopped watching. {job.continues}", error) from None
    except LostContact as error:
        raise WatchEnded(
            f"cannot watch the job {job.job_id} any longer: {error}. It may continue, and keeps the lock; see "
            f"{job.console_url}. To cancel it: {job.cancel_command}"
        ) from error
    except JobEnded as error:
        why = str(error) if isinstance(error, NoMachines | TooExpensive) else ending.reason(error)
        report = _compose(watch.JobCounters(job, tables).snapshot(), run, "failed", why)
        ending.put_report(report, run, request.stream)
        with suppress(BeamsightError):  # The next run finds that the job has ended.
            lock.release(run.output, run.run_id)
        missing = job.machine_type if isinstance(error, NoMachines) else None
        return Submitted(run.run_id, job, report, RunFailed(why), missing)
    return Submitted(run.run_id, job, run_report.read(run))


def _report_start(run: run_report.Run) -> None:
    with suppress(BeamsightError):  # The last step of the job writes the report again.
        run_report.write(Counter(), run, "running")
