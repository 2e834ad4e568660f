"""Send a job to Dataflow: stage its files, then create it with one request."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import GoogleCloudOptions, PipelineOptions, TestOptions
from apache_beam.runners.dataflow import dataflow_runner
from apache_beam.utils.retry import PermanentException
from google.api_core.exceptions import Forbidden, GoogleAPICallError, NotFound
from google.auth.exceptions import GoogleAuthError

from pipelines import catalog
from pipelines.catalog import WriteReport
from pipelines.options import CatalogOptions
from transforms.errors import BeamsightError, UsageError

_TIMEOUT_CODE = 408


@dataclass(frozen=True, slots=True)
class Job:
    """A job that Dataflow has accepted.

    machine_type: The type of the machines that run the models.
    start: When a queued job starts; empty for another job.
    runner, result: Beam's objects; None for a job that was found by its name.
    """

    job_id: str
    region: str
    project: str
    machine_type: str = ""
    start: str = ""
    runner: Any = field(default=None, repr=False)
    result: Any = field(default=None, repr=False)

    @property
    def console_url(self) -> str:
        """The page of the job in the Google Cloud console."""
        return f"https://console.cloud.google.com/dataflow/jobs/{self.region}/{self.job_id}?project={self.project}"

    @property
    def cancel_command(self) -> str:
        """The command that cancels the job."""
        return f"gcloud dataflow jobs cancel {self.job_id} --region {self.region} --project {self.project}"

    @property
    def continues(self) -> str:
        """What to say when the command ends before the job."""
        return f"The job {self.job_id} continues. To cancel it: {self.cancel_command}"

    def __str__(self) -> str:
        state = f"state: {self.start}\n" if self.start else ""
        return f"job: {self.job_id}\n{state}console: {self.console_url}\nto cancel it: {self.cancel_command}"


class Unconfirmed(BeamsightError):
    """The request that creates the job was sent, and no answer says whether there is a job now."""


def send(
    options: CatalogOptions,
    beam_options: PipelineOptions,
    write_report: WriteReport,
    before_create: Callable[[], None] = lambda: None,
) -> Job | None:
    """Send the job to Dataflow.

    Args:
        options: What the graph is built from.
        beam_options: Beam's options.
        write_report: The last step of the graph.
        before_create: Called when all files are staged, before the request that creates the job. If it raises an error,
            no job is created.

    Returns:
        The job, or None if Beam's own ``--dry_run`` or ``--template_location`` is set, with which no job starts.

    Raises:
        UsageError: Beam or Dataflow rejects the job.
        Unconfirmed: The job may have been created.
    """
    cloud = beam_options.view_as(GoogleCloudOptions)
    runner = DataflowRunner(before_create)
    try:
        pipeline = beam.Pipeline(runner=runner, options=beam_options)
        catalog.build(pipeline, options, write_report)
        result = pipeline.run()
    except BeamsightError:
        raise
    except Exception as error:
        if runner.is_create_sent and not _is_refusal(error):
            raise Unconfirmed(f"Dataflow did not confirm the job: {_line(error)}") from error
        if isinstance(error, ValueError):  # from Beam's checks of its options
            raise UsageError(f"Beam rejects the options: {_line(error)}") from error
        if isinstance(error, (GoogleAPICallError, GoogleAuthError, OSError, PermanentException)):
            raise UsageError(f"Dataflow rejected the job: {_line(error)}{_remedy(error, cloud.project)}") from error
        raise
    if beam_options.view_as(TestOptions).dry_run or not result.has_job:
        return None
    return Job(result.job_id(), cloud.region, cloud.project, runner=runner, result=result)


class DataflowRunner(dataflow_runner.DataflowRunner):
    """Beam's runner, with a step before the request that creates the job. Beam needs this name of the class."""

    def __init__(self, before_create: Callable[[], None]) -> None:
        super().__init__()
        self.is_create_sent = False
        self._before_create = before_create

    @property
    def dataflow_client(self) -> Any:
        """The client of Dataflow's API, which Beam sets when the job is ready to be staged."""
        return self._client

    @dataflow_client.setter
    def dataflow_client(self, client: Any) -> None:
        self._client, create = client, client.submit_job_description

        def create_after_step(job: Any) -> Any:
            self._before_create()
            self.is_create_sent = True
            return create(job)

        client.submit_job_description = create_after_step


def _is_refusal(error: Exception) -> bool:
    """Return whether Dataflow answered that it creates no job."""
    if isinstance(error, GoogleAPICallError):
        return error.code is not None and 400 <= error.code < 500 and error.code != _TIMEOUT_CODE
    return isinstance(error, PermanentException)  # another job has this name


def _line(error: Exception) -> str:
    return " ".join(str(error).split())


def _remedy(error: Exception, project: str) -> str:
    if isinstance(error, (Forbidden, NotFound)):
        return f"; enable the Dataflow API in {project}, and check that you have the role Dataflow Developer there"
    if isinstance(error, GoogleAuthError):
        return "; run `gcloud auth application-default login`"
    return ""
