"""``beamsight run``: process the images that the tables lack."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from beamsight import options
from beamsight.options import option
from runners.cli import codes
from runners.cli.parser import Command, Outcome, Parsed
from runners.jobs.options import RunOptions
from transforms.errors import UsageError

if TYPE_CHECKING:
    from runners.dataflow.submit_options import SubmitOptions


@dataclass(frozen=True, slots=True)
class MessageOptions:
    """What the command prints."""

    dry_run: bool = option(
        False,
        group="messages",
        one_run=True,
        template=False,
        help="Preview of the run: the number of images to process and an estimate; nothing is processed or written",
    )
    quiet: bool = option(False, group="messages", template=False, help="No output but warnings and errors")
    verbose: bool = option(False, group="messages", template=False, help="Log messages, and tracebacks of errors")
    json: bool = option(False, group="messages", template=False, help="Run report as JSON on stdout")

    def __post_init__(self) -> None:
        if self.quiet and self.verbose:
            raise UsageError("--quiet and --verbose exclude each other; use one of them")


def run(parsed: Parsed) -> Outcome:
    """Process the missing images here, or on Dataflow with ``--runner=DataflowRunner``."""
    job, messages = parsed.option(RunOptions), parsed.option(MessageOptions)
    from runners.jobs import beam_options

    for flag in (word.partition("=")[0] for word in parsed.beam):
        if flag in _submit_flags() - beam_options.names():
            raise UsageError(f"{flag} is for a job on Dataflow; use `beamsight submit`, or leave it out")
    beam_options.parse(parsed.beam, ours=[each.flag for each in parsed.command.declared])
    if beam_options.is_dataflow(parsed.beam):
        from runners.dataflow.submit_options import SubmitOptions

        return on_dataflow(job, SubmitOptions(wait=True), messages, parsed)
    return here(job, messages, parsed.beam)


def _submit_flags() -> set[str]:
    from runners.dataflow.submit_options import SubmitOptions

    return {each.flag for each in options.of(SubmitOptions)}


def here(job: RunOptions, messages: MessageOptions, beam: list[str]) -> Outcome:
    """Run a job from this process, or preview it."""
    from runners.dataflow import job_state
    from runners.jobs import beam_options, preview
    from runners.jobs import run as jobs

    beam_options.require_cloud(beam)
    if messages.dry_run:
        return Outcome(preview.describe(job, beam_options.parse(beam)))
    still_runs = job_state.make_still_runs(beam_options.parse(beam))
    return ended(job, jobs.run(job, beam, sys.stderr, still_runs, show=not messages.quiet), messages)


def on_dataflow(job: RunOptions, where: SubmitOptions, messages: MessageOptions, parsed: Parsed) -> Outcome:
    """Send a job to Dataflow, or describe what would be sent."""
    from apache_beam.options.pipeline_options import TestOptions

    from runners.dataflow import dry_run, submit
    from runners.dataflow.submit_options import Figures
    from runners.jobs import beam_options

    figures = parsed.option(Figures)
    if messages.dry_run or beam_options.parse(parsed.beam).view_as(TestOptions).dry_run:
        return Outcome(dry_run.describe(job, where, parsed.beam, figures))
    sent = submit.submit(job, where, parsed.beam, sys.stderr, show=not messages.quiet, figures=figures)
    if sent.report is not None:
        return ended(job, sent.report, messages)
    return Outcome(submit.summary(sent, job.output), lasts=True)


def ended(job: RunOptions, report: dict[str, Any], messages: MessageOptions) -> Outcome:
    """Return what is printed of a run that is done, and its exit code."""
    from beamsight.reports import criteria, run_report
    from runners.jobs import resolve

    by_kind = {criteria.TOO_FEW_IMAGES: codes.TOO_FEW_IMAGES, criteria.TOO_MANY_FAILURES: codes.TOO_MANY_FAILURES}
    text = "" if messages.quiet else run_report.summary(report, resolve.output_of(job))
    if messages.json:
        text = json.dumps(report, indent=2, ensure_ascii=False)
    problems = report["problems"]
    code = by_kind[problems[0]["kind"]] if problems else codes.DONE
    return Outcome(text, code, [problem["message"] for problem in problems], lasts=True)


COMMAND = Command(
    name="run",
    summary="process the images that the tables lack",
    run=run,
    options=(RunOptions, MessageOptions),
    description="Classify and embed the images that the tables lack. Run the same command again, and only new and "
    "changed images are processed. Unknown options go to Beam, such as --runner.",
    examples={
        "a folder": "beamsight run --images photos --output catalog",
        "objects in a bucket, and a manifest": "beamsight run --images 'gs://bucket/photos/**.jpg' --images more.csv "
        "--output gs://bucket/catalog",
        "the number of missing images and the time they take": "beamsight run --images photos --output catalog "
        "--dry-run",
    },
    notes=codes.NOTE,
    takes_beam=True,
)
