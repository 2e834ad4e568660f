"""The job on an engine of its own, such as Flink or Prism, with its workers in other processes."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

import apache_beam as beam
from apache_beam.options.pipeline_options import FlinkRunnerOptions, PipelineOptions, StandardOptions

from pipelines import catalog
from pipelines.catalog import CatalogOptions, WriteReport

_LOGGERS = (None, "PrismJobServer")  # to which Beam sends what the engine says, with the tracebacks of workers


def run(options: CatalogOptions, beam_options: PipelineOptions, write_report: WriteReport, stream: TextIO) -> None:
    """Run the job to its end, and end it there when this process is interrupted. Raises whatever stopped it.

    How it goes is not shown here: the sums of workers in other processes arrive with the report.
    """
    name = _name(beam_options)  # before Beam takes the runner out of its options
    pipeline = beam.Pipeline(options=beam_options)
    catalog.build(pipeline, options, write_report)
    with _quiet():
        with _interrupts_come_here():
            result = pipeline.run()
        stream.write(f"the job runs on {name}, which shows how it goes; the counts come at its end\n")
        stream.flush()
        try:
            result.wait_until_finish()
        except KeyboardInterrupt:
            result.cancel()
            raise


def _name(beam_options: PipelineOptions) -> str:
    runner = beam_options.view_as(StandardOptions).runner
    return f"Flink at {beam_options.view_as(FlinkRunnerOptions).flink_master}" if runner == "FlinkRunner" else runner


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
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    for logger in loggers:
        logger.addFilter(_nothing)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(_nothing)


def _nothing(_: logging.LogRecord) -> bool:
    return False
