"""``beamsight submit``: check all that can be checked here, send the job, and, if asked to, stay until it ends."""

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
from beamsight.reports import run_report
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
    """What became of a job. job: None where Beam was told to send nothing. report: once it was waited for."""

    run_id: str
    job: Job | None
    report: dict[str, Any] | None = None


def submit(
    run: RunOptions, where: SubmitOptions, arguments: Sequence[str], stream: TextIO, *, show: bool = True
) -> Submitted:
    """Send a job to Dataflow. ``arguments`` are Beam's own options, which go before those of ``where``.

    Raises UsageError before anything is sent; with ``where.wait``, RunFailed when the job stopped before its end, and
    WatchEnded when the command was interrupted.
    """
    beam = options.to_beam(where, run.output, arguments)
    send = not beam.view_as(TestOptions).dry_run
    resolve.require_visible(run, beam, models=False)
    checks.require_complete(beam)
    checks.require_python(beam)
    files.check(run.output)
    resolve.require_images(run)
    if run.on_finish is not None and not where.wait:
        raise UsageError("--on-finish needs --wait: without it nobody is there to post the report when the job ends")
    cloud = beam.view_as(GoogleCloudOptions)
    if send:
        checks.require_writable("--output", run.output)
        for place in dict.fromkeys((cloud.temp_location, cloud.staging_location)):
            checks.require_writable("the folder for temporary files", place)
    shown = stream if show else None
    with progress.steps(shown) as report:
        run = for_machines(with_models(run, options.models_folder(beam), report), beam)
    job, run_ = resolve.resolve(run, beam, gpu=options.gpu_of(beam) is not None)
    checks.require_engine(job.recipes, beam)
    if not send:
        watch.send(job, beam, partial(run_report.write, run=run_))
        return Submitted(run_.run_id, None)

    with _hold(run_, beam, stream) as held:
        cleanup.close_killed(run_.output, run_.run_id)
        run_report.write(Counter(), run_, "running")
        try:
            sent = watch.send(job, beam, partial(report_and_release, run=run_))
        except (UsageError, KeyboardInterrupt) as error:
            run_report.write(Counter(), run_, "failed", str(error))
            raise
        held.hand_over(_found_again(sent, cloud))
    if sent is None or not where.wait:
        return Submitted(run_.run_id, sent)
    print(_accepted(sent), file=stream, flush=True)
    ended, failed = _until_its_end(sent, run_, shown)
    if run.on_finish is not None:
        run.on_finish.post(ended, stream)
    if failed is not None:
        raise failed
    return Submitted(run_.run_id, sent, ended)


def _hold(run: run_report.Run, beam: PipelineOptions, stream: TextIO) -> AbstractContextManager[Lock]:
    asking = job_state.make_still_runs(beam)
    return lock.hold(
        run.output, "beamsight submit", stream, run_id=run.run_id, still_runs=asking, on_lost=interrupts.stop_work
    )


def report_and_release(tally: Tally, run: run_report.Run) -> None:
    """The last step of a job that has the lock, on a worker. A lock that stays says of which job it is."""
    run_report.write(tally, run)
    with suppress(BeamsightError):
        lock.release(run.output, run.run_id)


def with_models(run: RunOptions, folder: str, report: Report) -> RunOptions:
    """The same with bundles in the bucket for models."""
    return dataclasses.replace(
        run,
        classifier=checks.stage_model(run.classifier, "classify", folder, report),
        embedder=checks.stage_model(run.embedder, "embed", folder, report),
    )


def for_machines(run: RunOptions, beam: PipelineOptions) -> RunOptions:
    """The same with a batch that suits the GPU, where there is one and no other was asked for."""
    gpu = options.gpu_of(beam)
    if gpu not in machine.GPUS or run.batch_size is not None:
        return run
    return dataclasses.replace(run, batch_size=machine.GPUS[gpu].batch)


def summary(sent: Submitted, output: str) -> str:
    """What a person is told of a job that is not waited for."""
    if sent.job is None:
        return "Beam took the options; the job was not sent, as Beam was told by --dry_run or --template_location"
    return f"{_accepted(sent.job)}\nreport: {layout.run_report(output, sent.run_id)}"


def _accepted(job: Job) -> str:
    return f"job: {job.job_id}\nconsole: {job.console_url}\nto stop it: {job.cancel_command}"


def _found_again(sent: Job | None, cloud: GoogleCloudOptions) -> dict[str, str]:
    """What the lock says of the job. One whose graph is only left in the bucket is known by its name alone."""
    place = {"project": cloud.project, "region": cloud.region, "name": cloud.job_name or ""}
    return place | ({"id": sent.job_id} if sent is not None else {})


def _until_its_end(job: Job, run: run_report.Run, stream: TextIO | None) -> tuple[dict[str, Any], RunFailed | None]:
    tables = tuple(run.models)
    try:
        watch.watch(job, tables, stream)
    except KeyboardInterrupt as error:
        message = f"no longer watched; job {job.job_id} goes on. To stop it: {job.cancel_command}"
        raise WatchEnded(message, error.code if isinstance(error, Interrupted) else 130) from None
    except Exception as error:
        why = ending.reason(error)
        run_report.write(watch.JobCounters(job, tables).snapshot(), run, "failed", why)
        lock.release(run.output, run.run_id)
        return run_report.read(run), RunFailed(why)
    return run_report.read(run), None
