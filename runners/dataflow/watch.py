"""Send a job to Dataflow, and show its counters until it ends."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, TextIO

import apache_beam as beam
from apache_beam.options.pipeline_options import GoogleCloudOptions, PipelineOptions, TestOptions
from apache_beam.runners.dataflow.dataflow_runner import DataflowRunner
from google.api_core.exceptions import Forbidden, GoogleAPICallError, NotFound
from google.auth.exceptions import GoogleAuthError

from pipelines import catalog
from pipelines.catalog import CatalogOptions, WriteReport
from runners.jobs.progress import Progress
from transforms import counts
from transforms.counts import Tally
from transforms.errors import UsageError

LOOK_SECONDS = 15.0  # between reads of the counters, which workers report every few seconds
PIPE_SECONDS = 60.0  # between lines on a pipe


@dataclass(frozen=True, slots=True)
class Job:
    """A job that Dataflow has accepted. result: Beam's pipeline result."""

    job_id: str
    region: str
    project: str
    result: Any = field(repr=False)

    @property
    def console_url(self) -> str:
        """The page of the job in the Google Cloud console."""
        return f"https://console.cloud.google.com/dataflow/jobs/{self.region}/{self.job_id}?project={self.project}"

    @property
    def cancel_command(self) -> str:
        """The command that cancels the job."""
        return f"gcloud dataflow jobs cancel {self.job_id} --region {self.region} --project {self.project}"


def send(options: CatalogOptions, beam_options: PipelineOptions, write_report: WriteReport) -> Job | None:
    """Send the job to Dataflow.

    Returns:
        The job, or None if Beam's own ``--dry_run`` or ``--template_location`` is set, with which no job starts.

    Raises:
        UsageError: Beam or Dataflow rejects the job.
    """
    cloud = beam_options.view_as(GoogleCloudOptions)
    try:
        pipeline = beam.Pipeline(runner=DataflowRunner(), options=beam_options)
        catalog.build(pipeline, options, write_report)
        result = pipeline.run()
    except ValueError as error:  # from Beam's checks of its options
        raise UsageError(f"Beam rejects the options: {_line(error)}") from error
    except (GoogleAPICallError, GoogleAuthError, OSError) as error:
        raise UsageError(f"Dataflow rejected the job: {_line(error)}{_remedy(error, cloud.project)}") from error
    if beam_options.view_as(TestOptions).dry_run or not result.has_job:
        return None
    return Job(result.job_id(), cloud.region, cloud.project, result)


def watch(job: Job, tables: tuple[str, ...], stream: TextIO | None) -> None:
    """Show the counters of the job until it ends.

    Args:
        job: The job.
        tables: Folders of the tables that the job fills.
        stream: Where to show the counters; None shows nothing.

    Raises:
        JobStopped: Somebody cancelled the job.
        Exception: The job failed.
    """
    counters = JobCounters(job, tables)
    with Progress(counters, stream, look_seconds=LOOK_SECONDS, pipe_seconds=PIPE_SECONDS):
        try:
            job.result.wait_until_finish()
        except Exception as error:
            if job.result.state == "CANCELLED":
                raise JobStopped(f"the job {job.job_id} was cancelled") from error
            raise


class JobStopped(Exception):
    """The job was cancelled."""


class JobCounters:
    """The counters of a job, as Dataflow reports them."""

    def __init__(self, job: Job, tables: tuple[str, ...]) -> None:
        self._result = job.result
        self._keys = counts.keys_by_metric(tables)
        self._last: Tally = Counter()

    def snapshot(self) -> Tally:
        """Return the counts so far, by the keys of ``transforms.counts``; the last known ones if Dataflow fails."""
        try:
            counters = self._result.metrics().query()["counters"]
        except GoogleAPICallError:
            return self._last
        tally: Tally = Counter()
        for metric in counters:
            if metric.key.metric.namespace == counts.NAMESPACE and (key := self._keys.get(metric.key.metric.name)):
                tally[key] += metric.attempted if metric.attempted is not None else metric.committed or 0
        self._last = tally
        return tally


def _line(error: Exception) -> str:
    return " ".join(str(error).split())


def _remedy(error: Exception, project: str) -> str:
    if isinstance(error, (Forbidden, NotFound)):
        return f"; enable the Dataflow API in {project}, and check that you have the role Dataflow Developer there"
    if isinstance(error, GoogleAuthError):
        return "; run `gcloud auth application-default login`"
    return ""
