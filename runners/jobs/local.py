"""Run the job in this process."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import TextIO

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from pipelines import catalog
from pipelines.catalog import WriteReport
from pipelines.options import CatalogOptions
from runners.jobs.progress import Progress
from transforms import run_state
from transforms.errors import Stopped
from transforms.run_state import Stop

# The runners that we replace with FnApiRunner. One process with one worker is enough, because the models use all cores
# and a unit fetches and decodes in threads.
_REPLACED = (None, "DirectRunner", "FnApiRunner")

_POLL_SECONDS = 0.2
_GRACE_SECONDS = 3.0  # for units in progress to notice an interrupt


def is_local(beam_options: PipelineOptions) -> bool:
    """Return whether the job runs in this process."""
    return beam_options.view_as(StandardOptions).runner in (*_REPLACED, "BundleBasedDirectRunner")


def run(
    options: CatalogOptions,
    beam_options: PipelineOptions,
    write_report: WriteReport,
    stream: TextIO | None = sys.stderr,
) -> None:
    """Run the job to its end and show its progress on ``stream``, if any. Raises the exception that stopped it.

    Beam's DirectRunner chooses between several engines by the network and the graph. FnApiRunner always behaves the
    same.
    """
    runner = FnApiRunner() if beam_options.view_as(StandardOptions).runner in _REPLACED else None
    pipeline = beam.Pipeline(runner=runner, options=beam_options)
    catalog.build(pipeline, options, write_report)
    state = run_state.of(options.settings.run_id)
    with Progress(state.live, stream):
        run_in_thread(lambda: pipeline.run().wait_until_finish(), state.stop)


def run_in_thread(call: Callable[[], object], stop: Stop) -> None:
    """Call a function of Beam in its own thread, because an interrupt can be delayed or lost while Beam waits.

    Raises:
        Stopped: The run was stopped. The call may still run.
    """
    errors: list[BaseException] = []
    ended = threading.Event()  # An interrupted Thread.join would mark the thread as ended.

    def work() -> None:
        try:
            call()
        except BaseException as error:  # It is raised below.
            errors.append(error)
        finally:
            ended.set()

    threading.Thread(target=work, name="pipeline", daemon=True).start()
    try:
        while not ended.wait(_POLL_SECONDS):
            stop.check()  # A wait without a timeout may miss a signal.
    except (KeyboardInterrupt, Stopped):
        ended.wait(_GRACE_SECONDS)
        raise
    if errors:
        raise errors[0]
