"""``beamsight submit``: check the job, send it to Dataflow, and with ``--wait`` watch it until it ends."""

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

from beamsight.models.downloads import Report
from beamsight.reports import recipes, run_report
from pipelines.options import CatalogOptions
from runners.dataflow import checks, hand_over, job_state, machine, options, watch
from runners.dataflow.sending import Job
from runners.dataflow.submit_options import SubmitOptions
from runners.dataflow.watch import JobEnded, LostContact
from runners.jobs import ending, interrupts, progress, resolve
from runners.jobs.ending import RunFailed, WatchEnded
from runners.jobs.options import RunOptions
from runners.lock import cleanup, lock
from runners.lock.lock import Lock
from transforms.counts import Tally
from transforms.errors import BeamsightError, UsageError
from transforms.tables import layout


@dataclass(frozen=True, slots=True)
class Submitted:
    """A submitted job. job: None if a template's launcher starts it later. report: The run report, with ``--wait``."""

    run_id: str
    job: Job | None
    report: dict[str, Any] | None = None


def submit(
    run: RunOptions, where: SubmitOptions, arguments: Sequence[str], stream: TextIO, *, show: bool = True
) -> Submitted:
    """Check a job and send it to Dataflow.

    Args:
        run: The options of the run.
        where: The options of Dataflow.
        arguments: Beam's own options. They take precedence over ``where``.
        stream: Receives messages and the progress.
        show: Whether to show the progress.

    Raises:
        UsageError: A check failed, and nothing was sent.
        Locked: Another run holds the lock of the output.
        RunFailed: With ``where.wait``, the job failed or was cancelled.
        WatchEnded: With ``where.wait``, the command was interrupted.
    """
    beam = options.to_beam(where, run.output, arguments)
    resolve.require_visible(run, beam, models=False)
    checks.require_complete(beam)
    checks.require_python(beam)
    resolve.require_output(run)
    resolve.require_images(run)
    if run.on_finish is not None and not where.wait:
        raise UsageError("--on-finish needs --wait; otherwise no process is left to post the report")
    cloud = beam.view_as(GoogleCloudOptions)
    checks.require_writable("--output", run.output)
    for folder in dict.fromkeys((cloud.temp_location, cloud.staging_location)):
        checks.require_writable("the folder for temporary files", folder)
    shown = stream if show else None
    with progress.steps(shown) as step:
        run = for_machines(with_models(run, options.models_folder(beam), step), beam)
    job, run_ = resolve.resolve(run, beam, gpu=options.gpu_of(beam) is not None)
    checks.require_engine(job.recipes, beam)

    sent: Job | None = None
    try:
        with _hold(run_, beam, stream) as held:
            sent = _send(job, run_, beam, held, stream)
    except KeyboardInterrupt as error:
        if sent is None:
            raise
        raise WatchEnded(f"interrupted. {sent.continues}", error) from error
    if sent is None or not where.wait:
        return Submitted(run_.run_id, sent)
    print(sent, file=stream, flush=True)
    report, failure = _wait(sent, run_, stream, shown, cloud.dataflow_endpoint)
    if run.on_finish is not None:
        run.on_finish.post(report, stream)
    if failure is not None:
        raise failure
    return Submitted(run_.run_id, sent, report)


def _hold(run: run_report.Run, beam: PipelineOptions, stream: TextIO) -> AbstractContextManager[Lock]:
    still_runs = job_state.make_still_runs(beam)
    return lock.hold(
        run.output, "beamsight submit", stream, run_id=run.run_id, still_runs=still_runs, on_lost=interrupts.stop_work
    )


def _send(job: CatalogOptions, run: run_report.Run, beam: PipelineOptions, held: Lock, stream: TextIO) -> Job | None:
    """Write the report of the start, and send the job with the lock held."""
    cleanup.close_killed(run.output, run.run_id)
    for line in recipes.explain_new(run.output, job.recipes):
        stream.write(f"beamsight: {line}\n")
    run_report.write(Counter(), run, "running")
    try:
        return hand_over.send(job.with_lock(held.token), beam, partial(report_and_release, run=run), held, stream)
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


def with_models(run: RunOptions, folder: str, step: Report) -> RunOptions:
    """Return the options with models that are bundles in the bucket."""
    return dataclasses.replace(
        run,
        classifier=checks.stage_model(run.classifier, "classify", folder, step),
        embedder=checks.stage_model(run.embedder, "embed", folder, step),
    )


def for_machines(run: RunOptions, beam: PipelineOptions) -> RunOptions:
    """Return the options with a batch size that suits the GPU, unless one is set."""
    gpu = options.gpu_of(beam)
    if gpu not in machine.GPUS or run.batch_size is not None:
        return run
    return dataclasses.replace(run, batch_size=machine.GPUS[gpu].batch)


def summary(sent: Submitted, output: str) -> str:
    """Return the text to print for a job that is not watched."""
    if sent.job is None:
        return "Beam accepted the options. The job was not sent, because of Beam's --template_location"
    return f"{sent.job}\nreport: {layout.run_report(output, sent.run_id)}"


def _wait(
    job: Job, run: run_report.Run, stream: TextIO, shown: TextIO | None, endpoint: str | None
) -> tuple[dict[str, Any], RunFailed | None]:
    """Watch the job until it ends. Only a job of which Dataflow says that it has ended loses the lock."""
    tables = tuple(run.models)
    try:
        watch.watch(job, tables, shown, endpoint)
    except KeyboardInterrupt as error:
        raise WatchEnded(f"stopped watching. {job.continues}", error) from None
    except LostContact as error:
        raise WatchEnded(
            f"cannot watch the job {job.job_id} any longer: {error}. It may continue, and keeps the lock; see "
            f"{job.console_url}. To cancel it: {job.cancel_command}"
        ) from error
    except JobEnded as error:
        why = ending.reason(error)
        report = _compose(watch.JobCounters(job, tables).snapshot(), run, "failed", why)
        ending.put_report(report, run, stream)
        with suppress(BeamsightError):  # The next run finds that the job has ended.
            lock.release(run.output, run.run_id)
        return report, RunFailed(why)
    return run_report.read(run), None
