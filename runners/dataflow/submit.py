"""``beamsight submit``: check the job, send it to Dataflow, and with ``--wait`` watch it until it ends."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, TextIO

from apache_beam.options.pipeline_options import GoogleCloudOptions, PipelineOptions, TestOptions

from beamsight.models.downloads import Report
from beamsight.reports import recipes, run_report
from runners.dataflow import checks, job_state, machine, options, watch
from runners.dataflow.submit_options import SubmitOptions
from runners.dataflow.watch import Job
from runners.jobs import ending, interrupts, progress, resolve
from runners.jobs.ending import RunFailed, WatchEnded
from runners.jobs.interrupts import Interrupted
from runners.jobs.options import RunOptions
from runners.lock import cleanup, lock
from runners.lock.lock import Lock
from transforms.counts import Tally
from transforms.errors import BeamsightError, UsageError
from transforms.storage import files
from transforms.tables import layout


@dataclass(frozen=True, slots=True)
class Submitted:
    """A submitted job. job: None if Beam's own options prevent the start. report: The run report, with ``--wait``."""

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
    send = not beam.view_as(TestOptions).dry_run
    resolve.require_visible(run, beam, models=False)
    checks.require_complete(beam)
    checks.require_python(beam)
    files.check(run.output)
    resolve.require_images(run)
    if run.on_finish is not None and not where.wait:
        raise UsageError("--on-finish needs --wait; otherwise no process is left to post the report")
    cloud = beam.view_as(GoogleCloudOptions)
    if send:
        checks.require_writable("--output", run.output)
        for folder in dict.fromkeys((cloud.temp_location, cloud.staging_location)):
            checks.require_writable("the folder for temporary files", folder)
    shown = stream if show else None
    with progress.steps(shown) as step:
        run = for_machines(with_models(run, options.models_folder(beam), step), beam)
    job, run_ = resolve.resolve(run, beam, gpu=options.gpu_of(beam) is not None)
    checks.require_engine(job.recipes, beam)
    if not send:
        watch.send(job, beam, partial(run_report.write, run=run_))
        return Submitted(run_.run_id, None)

    with _hold(run_, beam, stream) as held:
        cleanup.close_killed(run_.output, run_.run_id)
        for line in recipes.explain_new(run_.output, job.recipes):
            stream.write(f"beamsight: {line}\n")
        run_report.write(Counter(), run_, "running")
        try:
            sent = watch.send(job.with_lock(held.token), beam, partial(report_and_release, run=run_))
        except (UsageError, KeyboardInterrupt) as error:
            run_report.write(Counter(), run_, "failed", str(error))
            raise
        held.hand_over(_describe_job(sent, cloud))
    if sent is None or not where.wait:
        return Submitted(run_.run_id, sent)
    print(_describe(sent), file=stream, flush=True)
    report, failure = _wait(sent, run_, shown)
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
        return "Beam accepted the options. The job was not sent, because of Beam's --dry_run or --template_location"
    return f"{_describe(sent.job)}\nreport: {layout.run_report(output, sent.run_id)}"


def _describe(job: Job) -> str:
    return f"job: {job.job_id}\nconsole: {job.console_url}\nto cancel it: {job.cancel_command}"


def _describe_job(sent: Job | None, cloud: GoogleCloudOptions) -> dict[str, str]:
    """Return what the lock says about the job. A job that a template's launcher starts later has no id yet."""
    job = {"project": cloud.project, "region": cloud.region, "name": cloud.job_name or ""}
    return job | ({"id": sent.job_id} if sent is not None else {})


def _wait(job: Job, run: run_report.Run, stream: TextIO | None) -> tuple[dict[str, Any], RunFailed | None]:
    tables = tuple(run.models)
    try:
        watch.watch(job, tables, stream)
    except KeyboardInterrupt as error:
        message = f"stopped watching job {job.job_id}, which continues. To cancel it: {job.cancel_command}"
        raise WatchEnded(message, error.code if isinstance(error, Interrupted) else 130) from None
    except Exception as error:
        why = ending.reason(error)
        run_report.write(watch.JobCounters(job, tables).snapshot(), run, "failed", why)
        lock.release(run.output, run.run_id)
        return run_report.read(run), RunFailed(why)
    return run_report.read(run), None
