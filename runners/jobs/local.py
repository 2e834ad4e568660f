"""The job on this machine, in this process."""

from __future__ import annotations

import sys
import threading
from typing import TextIO

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from pipelines import catalog
from pipelines.catalog import CatalogOptions, WriteReport
from runners.jobs.progress import Progress
from transforms import counts

# One process and one worker are right here: the models take all cores, and a unit fetches and decodes in threads.
_OURS = (None, "DirectRunner", "FnApiRunner")

_LOOK = 0.2  # seconds
_GRACE = 3.0  # seconds in which units in hand may notice that they are not wanted any more


def is_local(beam_options: PipelineOptions) -> bool:
    """Whether the job runs in this process."""
    return beam_options.view_as(StandardOptions).runner in (*_OURS, "BundleBasedDirectRunner")


def run(
    options: CatalogOptions,
    beam_options: PipelineOptions,
    write_report: WriteReport,
    stream: TextIO = sys.stderr,
) -> None:
    """Run the job to its end, and show how it goes. Raises whatever stopped it.

    Beam's DirectRunner is one of several engines, depending on the network and on the graph; FnApiRunner is the one
    that behaves the same every time.
    """
    runner = FnApiRunner() if beam_options.view_as(StandardOptions).runner in _OURS else None
    pipeline = beam.Pipeline(runner=runner, options=beam_options)
    catalog.build(pipeline, options, write_report)
    with Progress(counts.LIVE, stream):
        _run_beside(pipeline)


def _run_beside(pipeline: beam.Pipeline) -> None:
    """Run in a thread of its own: Beam waits in places where an interrupt would have to wait too, or get lost."""
    errors: list[BaseException] = []
    ended = threading.Event()  # and no join: one that is interrupted takes the thread for ended

    def work() -> None:
        try:
            pipeline.run().wait_until_finish()
        except BaseException as error:  # raised below
            errors.append(error)
        finally:
            ended.set()

    threading.Thread(target=work, name="pipeline", daemon=True).start()
    try:
        while not ended.wait(_LOOK):
            pass  # and look whether there was a signal, which a wait without end may miss
    except KeyboardInterrupt:
        ended.wait(_GRACE)
        raise
    if errors:
        raise errors[0]
