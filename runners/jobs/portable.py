"""The job on an engine of its own, such as Flink or Prism, with its workers in other processes."""

from __future__ import annotations

import json
import logging
import signal
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

import apache_beam as beam
from apache_beam.options.pipeline_options import (
    FlinkRunnerOptions,
    GoogleCloudOptions,
    PipelineOptions,
    StandardOptions,
)

from pipelines import catalog
from pipelines.catalog import CatalogOptions, WriteReport

_SECONDS = 10.0  # for an answer of Flink
_SERVER = "PrismJobServer"  # Beam's logger for what Prism says, with the tracebacks of workers


def run(options: CatalogOptions, beam_options: PipelineOptions, write_report: WriteReport, stream: TextIO) -> None:
    """Run the job to its end, and end it there when this process is interrupted. Raises whatever stopped it.

    How it goes is not shown here: the sums of workers in other processes arrive with the report.
    """
    runner = beam_options.view_as(StandardOptions).runner  # before Beam takes it out of its options
    flink = beam_options.view_as(FlinkRunnerOptions).flink_master if runner == "FlinkRunner" else None
    named = beam_options.view_as(GoogleCloudOptions)  # where Beam keeps it, for other clouds too
    named.job_name = named.job_name or f"beamsight-{options.settings.run_id.lower()}"
    pipeline = beam.Pipeline(options=beam_options)
    catalog.build(pipeline, options, write_report)
    with _quiet():
        with _interrupts_come_here():
            result = pipeline.run()
        where = f"Flink at {flink}" if flink else runner
        stream.write(f"{named.job_name} runs on {where}, in other processes; the counts come at its end\n")
        stream.flush()
        try:
            result.wait_until_finish()
        except KeyboardInterrupt:
            result.cancel()
            if flink and not flink.startswith("["):
                _cancel_on_flink(flink, named.job_name, stream)
            raise


def _cancel_on_flink(master: str, job_name: str, stream: TextIO) -> None:
    """Ask the cluster itself: Beam's job server leaves a job that has been handed over to it running."""
    api = master if "://" in master else f"http://{master}"
    try:
        with urllib.request.urlopen(f"{api}/jobs/overview", timeout=_SECONDS) as answer:
            ours = [job["jid"] for job in json.load(answer)["jobs"] if job["name"] == job_name]
        for job in ours:
            request = urllib.request.Request(f"{api}/jobs/{job}?mode=cancel", method="PATCH")
            urllib.request.urlopen(request, timeout=_SECONDS).close()
    except (OSError, ValueError, KeyError) as error:
        stream.write(f"{job_name} goes on; cancel it at {api}, which cannot be asked from here: {error}\n")


@contextmanager
def _interrupts_come_here() -> Iterator[None]:
    """Undo the handler with which Beam ends a job server that it has started: a job could then not be cancelled."""
    handler = signal.getsignal(signal.SIGINT)
    yield
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, handler)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the engine's messages to ourselves: what stops a job is said once, at the end."""
    logging.getLogger(_SERVER).addFilter(_nothing)  # for good, as Beam goes on reading what Prism says after the run
    root = logging.getLogger()
    root.addFilter(_nothing)
    try:
        yield
    finally:
        root.removeFilter(_nothing)


def _nothing(_: logging.LogRecord) -> bool:
    return False
