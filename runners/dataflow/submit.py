"""``beamsight submit``: check the job, send it to Dataflow, and with ``--wait`` watch it until it ends."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TextIO

from apache_beam.options.pipeline_options import GoogleCloudOptions

from beamsight.models.downloads import Report
from runners.dataflow import attempt, budget, checks, machine, options
from runners.dataflow.attempt import Request, Submitted
from runners.dataflow.submit_options import Figures, SubmitOptions
from runners.jobs import beam_options, progress, resolve
from runners.jobs.options import RunOptions
from transforms.errors import UsageError
from transforms.tables import layout


def submit(
    run: RunOptions,
    where: SubmitOptions,
    arguments: Sequence[str],
    stream: TextIO,
    *,
    show: bool = True,
    figures: Figures | None = None,
) -> Submitted:
    """Check a job and send it to Dataflow.

    A watched job that fails because the region has no machines of its type is sent again for the next type.

    Args:
        run: The options of the run.
        where: The options of Dataflow.
        arguments: Beam's own options. They take precedence over ``where``.
        stream: Receives messages and the progress.
        show: Whether to show the progress.
        figures: Figures of the user for ``--max-cost``, which replace our estimates.

    Raises:
        UsageError: A check failed, and nothing was sent.
        Locked: Another run holds the lock of the output.
        RunFailed: With ``where.wait``, the job failed or was cancelled.
        WatchEnded: With ``where.wait``, the command was interrupted.
    """
    beam = options.to_beam(where, run.output, arguments)
    resolve.require_visible(run, beam, models=False)
    checks.require_complete(beam, options.gpu_of(where, beam))
    checks.require_python(beam)
    resolve.require_output(run)
    resolve.require_images(run)
    if run.on_finish is not None and not where.wait:
        raise UsageError("--on-finish needs --wait; otherwise no process is left to post the report")
    figures = figures or Figures()
    budget.make_budget(where, beam, figures)
    cloud = beam.view_as(GoogleCloudOptions)
    checks.require_writable("--output", run.output)
    for folder in dict.fromkeys((cloud.temp_location, cloud.staging_location)):
        checks.require_writable("the folder for temporary files", folder)
    shown = stream if show else None
    with progress.steps(shown) as step:
        run = for_machines(with_models(run, options.models_folder(beam), step), options.gpu_of(where, beam))
    budget.require_affordable(run, where, beam, figures, stream)
    request = Request(run, where, arguments, figures, stream, shown)
    sent = _try_types(request, options.machine_types(where, beam_options.parse(list(arguments))))
    if run.on_finish is not None and sent.report is not None:
        run.on_finish.post(sent.report, stream)
    if sent.failure is not None:
        raise sent.failure
    return sent


def _try_types(request: Request, types: tuple[str, ...]) -> Submitted:
    """Send the job for each machine type until the region has machines of one."""
    sent = attempt.run(request, types)
    while sent.stockout is not None and (types := types[types.index(sent.stockout) + 1 :]):
        request.stream.write(f"beamsight: {sent.failure}; trying {types[0]}\n")
        sent = attempt.run(request, types)
    return sent


def with_models(run: RunOptions, folder: str, step: Report) -> RunOptions:
    """Return the options with models that are bundles in the bucket."""
    return dataclasses.replace(
        run,
        classifier=checks.stage_model(run.classifier, "classify", folder, step),
        embedder=checks.stage_model(run.embedder, "embed", folder, step),
    )


def for_machines(run: RunOptions, gpu: str | None) -> RunOptions:
    """Return the options with a batch size that suits the GPU, unless one is set."""
    if gpu not in machine.GPUS or run.batch_size is not None:
        return run
    return dataclasses.replace(run, batch_size=machine.GPUS[gpu].batch)


def summary(sent: Submitted, output: str) -> str:
    """Return the text to print for a job that is not watched."""
    if sent.job is None:
        return "Beam accepted the options. The job was not sent, because of Beam's --template_location"
    return f"{sent.job}\nreport: {layout.run_report(output, sent.run_id)}"
