"""A job from its start to its end: the lock, the pipeline, the report, and the webhook."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from functools import partial
from typing import Any, TextIO

from apache_beam.options.pipeline_options import PipelineOptions

from beamsight.reports import recipes, run_report
from pipelines.options import CatalogOptions
from runners.jobs import beam_options, local, portable, progress, resolve
from runners.jobs.ending import RunFailed, record_stop
from runners.jobs.options import RunOptions
from runners.lock import cleanup, lock
from runners.lock.lock import Lock, StillRuns
from transforms import run_state
from transforms.inference import engines

_HURRY = 3.0  # seconds for --on-finish when somebody waits for the command to end


def run(
    options: RunOptions,
    beam_arguments: Iterable[str],
    stream: TextIO,
    still_runs: StillRuns = lambda _: None,
    *,
    show: bool = True,
) -> dict[str, Any]:
    """Run a job to its end, and return its report.

    Args:
        options: What the job does.
        beam_arguments: Beam's own options.
        stream: Where messages and the progress go.
        still_runs: Asks whether a job that holds the lock still runs.
        show: Whether to show the progress.

    Raises:
        UsageError: Before anything starts, where the job cannot be done.
        Locked: Before anything starts, where another run works on the output.
        RunFailed: When the job stops before its end.
    """
    arguments = list(beam_arguments)
    beam = beam_options.parse(arguments)
    resolve.require_visible(options, beam)
    resolve.require_output(options)
    resolve.require_images(options)
    shown = stream if show else None
    with progress.steps(shown) as report:
        job, run_ = resolve.resolve(options, beam, gpu=engines.has_gpu(), report=report)
    command = "beamsight nightly" if options.night else "beamsight run"
    stop = run_state.of(run_.run_id).stop
    with lock.hold(
        run_.output, command, stream, run_id=run_.run_id, still_runs=still_runs, on_lost=stop.request
    ) as held:
        ended, error = _run(job.with_lock(held.token), run_, beam, held, stream, shown)
    if options.on_finish is not None:
        hurried = {"seconds": _HURRY, "timeout": _HURRY} if isinstance(error, KeyboardInterrupt) else {}
        options.on_finish.post(ended, stream, **hurried)
    if error is not None:
        raise error
    return ended


def _run(
    job: CatalogOptions,
    run_: run_report.Run,
    beam: PipelineOptions,
    held: Lock,
    stream: TextIO,
    shown: TextIO | None,
) -> tuple[dict[str, Any], BaseException | None]:
    """Run the job with the lock held. Returns its report, and the error to raise where it stopped before its end."""
    cleanup.close_killed(run_.output, run_.run_id)
    for line in recipes.explain_new(run_.output, job.recipes):
        stream.write(f"beamsight: {line}\n")
    run_report.write(Counter(), run_, "running")  # fails now, and not after a unit, where the output is not writable
    try:
        write_report = partial(run_report.write, run=run_)
        if local.is_local(beam):
            local.run(job, beam, write_report, shown)
        else:
            portable.run(job, beam, write_report, stream)
        done = run_report.read(run_)
        if done["state"] != "done":
            raise RunFailed(
                f"--output {run_.output} is another folder for the workers: they have not written {run_.uri} here; "
                "name one that all can reach, on gs:// or a shared disk"
            )
    except (Exception, KeyboardInterrupt) as error:
        return record_stop(error, run_, held, stream)
    cleanup.clean(run_.output, held.since, stream)
    return done, None
