"""Create, find and delete Cloud Scheduler jobs that launch the Flex Template.

The HTTP request of a job is the same every time. It contains the day as ``{date}``, which the launcher replaces.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

from google.api_core.exceptions import BadRequest, Conflict, Forbidden, GoogleAPICallError, NotFound, ServiceUnavailable
from google.api_core.retry import Retry, if_exception_type
from google.auth.exceptions import GoogleAuthError
from google.cloud import dataflow_v1beta3, scheduler_v1

from runners.template.cron_fields import Times
from runners.template.options import CreateOptions
from transforms.errors import UsageError

SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_UPDATED_FIELDS = ["description", "schedule", "time_zone", "http_target", "retry_config", "attempt_deadline"]
_RETRY = Retry(if_exception_type(ServiceUnavailable), initial=0.5, maximum=10, timeout=60)
_TIMEOUT = 30.0
_LONGEST_WAIT = timedelta(hours=1)
_REQUEST = re.compile(r"^[0-9]+ [A-Z]+ \S+: ")  # The client puts this before the server's message.
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class ScheduleRef:
    """The name and location of a schedule. endpoint: A server other than Google's."""

    project: str
    location: str
    name: str = "beamsight"
    endpoint: str | None = None

    @property
    def parent(self) -> str:
        return f"projects/{self.project}/locations/{self.location}"

    @property
    def path(self) -> str:
        return f"{self.parent}/jobs/{self.name}"

    def __str__(self) -> str:
        return f"{self.name} in {self.location} of {self.project}"


def build_job(
    ref: ScheduleRef,
    times: Times,
    launch: dataflow_v1beta3.LaunchFlexTemplateRequest,
    account: str,
    options: CreateOptions,
    dataflow: str,
) -> scheduler_v1.Job:
    """Return a job that sends ``launch`` to the endpoint ``dataflow``, with a token of the service account."""
    parameter = dataflow_v1beta3.LaunchFlexTemplateParameter.to_dict(
        launch.launch_parameter, preserving_proto_field_name=False, always_print_fields_with_no_presence=False,
        use_integers_for_enums=False,
    )  # fmt: skip
    uri = f"{dataflow}/v1b3/projects/{launch.project_id}/locations/{launch.location}/flexTemplates:launch"
    return scheduler_v1.Job(
        name=ref.path,
        description="beamsight: images that are new or have changed",
        schedule=times.fields,
        time_zone=times.zone,
        attempt_deadline=timedelta(seconds=options.attempt_deadline),
        retry_config=scheduler_v1.RetryConfig(
            retry_count=options.retries,
            min_backoff_duration=timedelta(seconds=options.retry_wait),
            max_backoff_duration=_LONGEST_WAIT,
        ),
        http_target=scheduler_v1.HttpTarget(
            uri=uri,
            http_method=scheduler_v1.HttpMethod.POST,
            headers={"Content-Type": "application/json"},
            body=json.dumps({"launchParameter": parameter}, sort_keys=True).encode(),
            oauth_token=scheduler_v1.OAuthToken(service_account_email=account, scope=SCOPE),
        ),
    )


def create_or_update(ref: ScheduleRef, new: scheduler_v1.Job) -> tuple[scheduler_v1.Job, bool]:
    """Create the job, or update the one of that name. Return it and whether it is new."""

    def send(client: scheduler_v1.CloudSchedulerClient) -> tuple[scheduler_v1.Job, bool]:
        try:
            return client.create_job(parent=ref.parent, job=new, retry=_RETRY, timeout=_TIMEOUT), True
        except Conflict:
            update = {"job": new, "update_mask": {"paths": _UPDATED_FIELDS}}
            return client.update_job(update, retry=_RETRY, timeout=_TIMEOUT), False

    return _ask(ref, send)


def find(ref: ScheduleRef) -> scheduler_v1.Job | None:
    """Return the job, or None if there is none of that name."""
    return _ask(ref, lambda client: _or_none(lambda: client.get_job(name=ref.path, retry=_RETRY, timeout=_TIMEOUT)))


def delete(ref: ScheduleRef) -> bool:
    """Delete the job. Return whether there was one."""

    def send(client: scheduler_v1.CloudSchedulerClient) -> bool:
        client.delete_job(name=ref.path, retry=_RETRY, timeout=_TIMEOUT)
        return True

    return bool(_ask(ref, lambda client: _or_none(lambda: send(client))))


def read_launch(job: scheduler_v1.Job) -> dataflow_v1beta3.LaunchFlexTemplateParameter:
    """Return what a job launches. Raises UsageError if that is not a Flex Template."""
    try:
        body = json.loads(job.http_target.body)["launchParameter"]
        return dataflow_v1beta3.LaunchFlexTemplateParameter.from_json(json.dumps(body))
    except (ValueError, KeyError, TypeError) as error:  # json's errors and protobuf's are ValueErrors
        raise UsageError(f"{job.name} is not a schedule of beamsight; pass another --name") from error


def _or_none(call: Callable[[], _T]) -> _T | None:
    try:
        return call()
    except NotFound:
        return None


def _ask(ref: ScheduleRef, call: Callable[[scheduler_v1.CloudSchedulerClient], _T]) -> _T:
    """Call Cloud Scheduler. Raises UsageError with one line and the remedy."""
    try:
        options = {"api_endpoint": ref.endpoint} if ref.endpoint else None
        with scheduler_v1.CloudSchedulerClient(transport="rest", client_options=options) as client:
            return call(client)
    except (GoogleAPICallError, GoogleAuthError, OSError) as error:
        text = _REQUEST.sub("", " ".join(str(error).split())).rstrip(".")
        raise UsageError(f"schedule {ref}: {text}; {_remedy(error, text, ref)}") from error


def _remedy(error: Exception, text: str, ref: ScheduleRef) -> str:
    if isinstance(error, GoogleAuthError):
        return "run `gcloud auth application-default login`"
    if "SERVICE_DISABLED" in text or "has not been used in project" in text:
        return f"run `gcloud services enable cloudscheduler.googleapis.com --project {ref.project}`"
    if isinstance(error, Forbidden) and "actAs" in text:
        return "grant yourself the role Service Account User on the account of --launch-as"
    if isinstance(error, NotFound) or (isinstance(error, (BadRequest, Forbidden)) and "ocation" in text):
        return (
            f"Cloud Scheduler may not be available in {ref.location}. `gcloud scheduler locations list --project "
            f"{ref.project}` lists its locations; pass one with --location"
        )
    if isinstance(error, Forbidden):
        return f"grant yourself the role Cloud Scheduler Admin in {ref.project}"
    if isinstance(error, BadRequest):
        return "change the arguments; --dry-run shows the request"
    return "try again later"
