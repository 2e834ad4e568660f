"""Ask Dataflow whether the job that holds a lock still runs, and why a job failed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from apache_beam.options.pipeline_options import GoogleCloudOptions, PipelineOptions
from google.api_core.client_options import ClientOptions
from google.api_core.exceptions import GoogleAPICallError
from google.auth.exceptions import GoogleAuthError

from runners.lock.holder import Holder, Job
from runners.lock.lock import StillRuns

_TIMEOUT = 20.0  # seconds for an answer
ENDED = ("DONE", "FAILED", "CANCELLED", "UPDATED", "DRAINED")
QUEUED = "QUEUED"  # of a FlexRS job that has not started yet


@dataclass(frozen=True, slots=True)
class Status:
    """What Dataflow says about a job.

    job_id: Empty if there is no active job with the name.
    state: Such as ``RUNNING``, without Dataflow's prefix.
    """

    job_id: str
    state: str

    @property
    def is_active(self) -> bool:
        """Whether the job exists and has not ended."""
        return bool(self.job_id) and self.state not in ENDED


def make_still_runs(beam: PipelineOptions) -> StillRuns:
    """Return a function that asks Dataflow whether the job of a lock's holder still runs."""
    return partial(still_runs, endpoint=beam.view_as(GoogleCloudOptions).dataflow_endpoint)


def still_runs(holder: Holder, endpoint: str | None = None) -> bool | str | None:
    """Return whether the job of a lock's holder still runs, or None if Dataflow does not answer.

    A job that has not started yet is ``queued``, which counts as running.
    """
    status = ask(holder, endpoint)
    if status is None or not status.is_active:
        return None if status is None else False
    return status.state.lower() if status.state == QUEUED else True


def ask(holder: Holder, endpoint: str | None = None) -> Status | None:
    """Ask Dataflow for the job of a lock's holder.

    A job without an id is looked for by its name. A pending one is any active job with this name. Otherwise it is the
    job that a Flex Template's launcher prepared, which existed when the lock was taken.

    Args:
        holder: A holder with a job.
        endpoint: A server other than Google's. It never comes from the lock.

    Returns:
        The state of the job, or None if Dataflow does not answer.
    """
    from google.cloud import dataflow_v1beta3

    job = holder.job or {}
    location = {"project_id": job.get("project"), "location": job.get("region")}
    try:
        client = dataflow_v1beta3.JobsV1Beta3Client(**_server(endpoint))
        if job.get("id"):
            return _status(client.get_job({**location, "job_id": job["id"]}, timeout=_TIMEOUT))
        active = dataflow_v1beta3.ListJobsRequest.Filter.ACTIVE
        until = None if holder.is_pending else datetime.fromisoformat(holder.since.replace(" UTC", "+00:00"))
        for each in client.list_jobs({**location, "filter": active, "name": job.get("name")}, timeout=_TIMEOUT):
            if each.name == job.get("name") and (until is None or each.create_time <= until):
                return _status(each)
        return Status("", "")
    except (GoogleAPICallError, GoogleAuthError, OSError, ValueError):
        return None


def list_errors(job: Job, endpoint: str | None = None) -> list[str]:
    """Return the error messages of a job, or none if Dataflow does not answer.

    Args:
        job: Project, region and id of the job.
        endpoint: A server other than Google's.
    """
    from google.cloud import dataflow_v1beta3

    request = {
        "project_id": job["project"],
        "location": job["region"],
        "job_id": job["id"],
        "minimum_importance": dataflow_v1beta3.JobMessageImportance.JOB_MESSAGE_ERROR,
    }
    try:
        client = dataflow_v1beta3.MessagesV1Beta3Client(**_server(endpoint))
        return [each.message_text for each in client.list_job_messages(request, timeout=_TIMEOUT)]
    except (GoogleAPICallError, GoogleAuthError, OSError, ValueError):
        return []


def _server(endpoint: str | None) -> dict[str, Any]:
    """Return the arguments of a client for a server other than Google's."""
    local = "localhost" in (endpoint or "")
    server = endpoint if local else re.sub("^https?://", "", endpoint or "")
    return {
        "client_options": ClientOptions(api_endpoint=server) if server else None,
        "transport": "rest" if local else None,
    }


def _status(job: Any) -> Status:
    return Status(job.id, job.current_state.name.removeprefix("JOB_STATE_"))
