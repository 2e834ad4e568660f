"""Ask Dataflow whether the job that holds a lock still runs."""

from __future__ import annotations

import re
from datetime import datetime
from functools import partial

from apache_beam.options.pipeline_options import GoogleCloudOptions, PipelineOptions
from google.api_core.client_options import ClientOptions
from google.api_core.exceptions import GoogleAPICallError
from google.auth.exceptions import GoogleAuthError

from runners.lock.holder import Holder
from runners.lock.lock import StillRuns

_TIMEOUT = 20.0  # seconds for an answer
_ENDED = ("DONE", "FAILED", "CANCELLED", "UPDATED", "DRAINED")


def make_still_runs(beam: PipelineOptions) -> StillRuns:
    """Return a function that asks Dataflow whether the job of a lock's holder still runs."""
    return partial(still_runs, endpoint=beam.view_as(GoogleCloudOptions).dataflow_endpoint)


def still_runs(holder: Holder, endpoint: str | None = None) -> bool | None:
    """Ask Dataflow whether the job of a lock's holder still runs.

    A Flex Template's launcher does not know the id of its job. In that case, the job is the one with the holder's job
    name that existed when the lock was taken.

    Args:
        holder: A holder with a job.
        endpoint: A server other than Google's. It never comes from the lock.

    Returns:
        Whether the job runs, or None if Dataflow does not answer.
    """
    from google.cloud import dataflow_v1beta3

    job = holder.job or {}
    location = {"project_id": job.get("project"), "location": job.get("region")}
    local = "localhost" in (endpoint or "")
    server = endpoint if local else re.sub("^https?://", "", endpoint or "")
    try:
        client = dataflow_v1beta3.JobsV1Beta3Client(
            client_options=ClientOptions(api_endpoint=server) if server else None,
            transport="rest" if local else None,
        )
        if job.get("id"):
            job_ = client.get_job({**location, "job_id": job["id"]}, timeout=_TIMEOUT)
            return job_.current_state.name.removeprefix("JOB_STATE_") not in _ENDED
        active = dataflow_v1beta3.ListJobsRequest.Filter.ACTIVE
        since = datetime.fromisoformat(holder.since.replace(" UTC", "+00:00"))
        jobs = client.list_jobs({**location, "filter": active, "name": job.get("name")}, timeout=_TIMEOUT)
        return any(each.name == job.get("name") and each.create_time <= since for each in jobs)
    except (GoogleAPICallError, GoogleAuthError, OSError, ValueError):
        return None
