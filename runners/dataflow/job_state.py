"""Whether a job that a lock names still runs, as Dataflow tells."""

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

_SECONDS = 20.0  # for an answer
_ENDED = ("DONE", "FAILED", "CANCELLED", "UPDATED", "DRAINED")


def make_still_runs(beam: PipelineOptions) -> StillRuns:
    """How to ask whether a job that has the lock still runs."""
    return partial(still_runs, endpoint=beam.view_as(GoogleCloudOptions).dataflow_endpoint)


def still_runs(holder: Holder, endpoint: str | None = None) -> bool | None:
    """A holder with a job -> whether it runs; None where Dataflow does not say.

    The machine that launches a Flex Template does not know the job's id: there, it is the job of that name which was
    there when the lock was taken. endpoint: another server than Google's, never one that the lock names.
    """
    from google.cloud import dataflow_v1beta3

    job = holder.job or {}
    at = {"project_id": job.get("project"), "location": job.get("region")}
    local = "localhost" in (endpoint or "")
    server = endpoint if local else re.sub("^https?://", "", endpoint or "")
    try:
        client = dataflow_v1beta3.JobsV1Beta3Client(
            client_options=ClientOptions(api_endpoint=server) if server else None,
            transport="rest" if local else None,
        )
        if job.get("id"):
            found = client.get_job({**at, "job_id": job["id"]}, timeout=_SECONDS)
            return found.current_state.name.removeprefix("JOB_STATE_") not in _ENDED
        active = dataflow_v1beta3.ListJobsRequest.Filter.ACTIVE
        since = datetime.fromisoformat(holder.since.replace(" UTC", "+00:00"))
        jobs = client.list_jobs({**at, "filter": active, "name": job.get("name")}, timeout=_SECONDS)
        return any(each.name == job.get("name") and each.create_time <= since for each in jobs)
    except (GoogleAPICallError, GoogleAuthError, OSError, ValueError):
        return None
