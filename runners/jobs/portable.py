"""Run the job on a separate engine such as Flink or Prism, with workers in other processes."""

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
from pipelines.catalog import WriteReport
from pipelines.options import CatalogOptions
from runners.jobs import local
from transforms import run_state
from transforms.errors import Stopped

_TIMEOUT = 10.0  # seconds for an answer from Flink
_PRISM_LOGGER = "PrismJobServer"  # Beam's logger for the output of Prism, with the tracebacks of workers


def run(options: CatalogOptions, beam_options: PipelineOptions, write_report: WriteReport, stream: TextIO) -> None:
    """Run the job to its end. Cancel it if this process is interrupted. Raises the exception that stopped it.

    No progress is shown, because the counts of workers in other processes arrive with the report.
    """
    runner = beam_options.view_as(StandardOptions).runner  # Beam removes it from the options later.
    flink = beam_options.view_as(FlinkRunnerOptions).flink_master if runner == "FlinkRunner" else None
    cloud = beam_options.view_as(GoogleCloudOptions)  # Beam keeps the job name here for all runners.
    cloud.job_name = cloud.job_name or f"beamsight-{options.settings.run_id.lower()}"
    pipeline = beam.Pipeline(options=beam_options)
    catalog.build(pipeline, options, write_report)
    with _quiet():
        with _keep_interrupt_handler():
            result = pipeline.run()
        where = f"Flink at {flink}" if flink else runner
        stream.write(f"{cloud.job_name} runs on {where}, in other processes; counts are shown when it ends\n")
        stream.flush()
        try:
            local.run_in_thread(result.wait_until_finish, run_state.of(options.settings.run_id).stop)
        except (KeyboardInterrupt, Stopped):
            result.cancel()
            if flink and not flink.startswith("["):
                _cancel_on_flink(flink, cloud.job_name, stream)
            raise


def _cancel_on_flink(master: str, job_name: str, stream: TextIO) -> None:
    """Cancel the job at the cluster, because Beam's job server leaves a submitted job running."""
    api = master if "://" in master else f"http://{master}"
    try:
        with urllib.request.urlopen(f"{api}/jobs/overview", timeout=_TIMEOUT) as answer:
            ids = [job["jid"] for job in json.load(answer)["jobs"] if job["name"] == job_name]
        for id_ in ids:
            request = urllib.request.Request(f"{api}/jobs/{id_}?mode=cancel", method="PATCH")
            urllib.request.urlopen(request, timeout=_TIMEOUT).close()
    except (OSError, ValueError, KeyError) as error:
        stream.write(f"could not cancel {job_name} at {api}: {error}; cancel it there\n")


@contextmanager
def _keep_interrupt_handler() -> Iterator[None]:
    """Restore the SIGINT handler. Beam replaces it by one that ends its job server, which then can cancel no job."""
    handler = signal.getsignal(signal.SIGINT)
    yield
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, handler)


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide the log of the engine. The reason why a job stopped is printed once, at the end."""
    # This filter stays, because Beam still reads the output of Prism after the run.
    logging.getLogger(_PRISM_LOGGER).addFilter(_drop)
    root = logging.getLogger()
    root.addFilter(_drop)
    try:
        yield
    finally:
        root.removeFilter(_drop)


def _drop(_: logging.LogRecord) -> bool:
    return False
