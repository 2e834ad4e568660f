"""``beamsight schedule create | show | delete``: schedules on Cloud Scheduler."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

from apache_beam.options.pipeline_options import GoogleCloudOptions
from google.cloud import dataflow_v1beta3, scheduler_v1

from beamsight.text import columns, duration
from runners.dataflow import checks, options
from runners.jobs import beam_options
from runners.template import cron_fields, parameters, scheduler_api
from runners.template.cron_fields import Times
from runners.template.options import CreateOptions, PlaceOptions
from runners.template.scheduler_api import ScheduleRef
from transforms.errors import FetchError, UsageError
from transforms.storage import files


def create(
    asked: CreateOptions,
    name: str,
    times: Times,
    values: Mapping[str, Any],
    beam: Sequence[str],
    *,
    send: bool = True,
) -> str:
    """Create the schedule, or update the one of that name. Returns a description of it.

    Args:
        asked: What launches, and how.
        name: The name of the schedule and of its jobs.
        times: When it launches.
        values: The options of ``nightly``, by field.
        beam: Beam's own options.
        send: Whether to create it; otherwise it is only described.
    """
    cron_fields.require_name(name)
    launch = parameters.launch_request(asked.template, {"job_name": name, **values}, beam)
    parameter = launch.launch_parameter
    parameter.parameters["time_zone"] = times.zone  # Always set: it marks the launch as a nightly one.
    account = asked.launch_as or parameter.environment.service_account_email
    if not account:
        raise UsageError(
            "no --launch-as: pass the service account that launches the job each night. It needs the role Dataflow "
            "Developer, and Service Account User on the account of the workers"
        )
    ref = ScheduleRef(launch.project_id, asked.location or launch.location, name, asked.scheduler_endpoint)
    if send:
        _require_template(asked.template)
        _stage_models(parameter)
    parsed = beam_options.parse(parameter.environment.additional_pipeline_options)
    new = scheduler_api.build_job(
        ref,
        times,
        launch,
        account,
        asked,
        parsed.view_as(GoogleCloudOptions).dataflow_endpoint,
    )
    if not send:
        return f"{_describe(ref, new)}\n\nThe schedule was not created."
    job, is_new = scheduler_api.create_or_update(ref, new)
    return f"{'created' if is_new else 'updated'}\n{_describe(ref, job)}"


def ref_of(asked: PlaceOptions) -> ScheduleRef:
    """Return the schedule that the options name."""
    return ScheduleRef(asked.project, asked.location or asked.region or "", asked.name, asked.scheduler_endpoint)


def show(ref: ScheduleRef) -> str:
    """Return the description of a schedule. Raises UsageError if there is none of that name."""
    job = scheduler_api.find(ref)
    if job is None:
        raise UsageError(f"there is no schedule {ref}; `beamsight schedule create` creates one")
    return _describe(ref, job)


def delete(ref: ScheduleRef) -> str:
    """Delete a schedule, if there is one, and return a message. Jobs that it has launched continue."""
    return f"deleted: schedule {ref}" if scheduler_api.delete(ref) else f"nothing to delete: there is no schedule {ref}"


def _require_template(uri: str) -> None:
    try:
        exists = files.exists(uri)
    except FetchError as error:
        raise UsageError(f"cannot check --template {uri}: {error}") from error
    if not exists:
        raise UsageError(f"--template {uri} does not exist; containers/build.sh creates it")


def _stage_models(parameter: dataflow_v1beta3.LaunchFlexTemplateParameter) -> None:
    """Copy the models to the bucket now, because the launcher cannot, and its errors would go unnoticed."""
    beam = beam_options.parse([f"--temp_location={parameter.environment.temp_location}"])
    models = parameters.models(parameter.parameters)
    staged = {
        "classifier": checks.stage_model(models["classifier"], "classify", options.models_folder(beam)),
        "embedder": checks.stage_model(models["embedder"], "embed", options.models_folder(beam)),
    }
    parameter.parameters.update(staged)


def _describe(ref: ScheduleRef, job: scheduler_v1.Job) -> str:
    launch = scheduler_api.read_launch(job)
    retries = job.retry_config
    lines: list[tuple[str, str]] = [
        ("schedule", f"{ref}{_state(job)}"),
        ("when", _when(job)),
        *_history(job),
        ("retries", f"{retries.retry_count}, the first after {duration(retries.min_backoff_duration.total_seconds())}"),
        ("answer within", duration(job.attempt_deadline.total_seconds())),
        ("as", job.http_target.oauth_token.service_account_email),
        ("launches", launch.container_spec_gcs_path),
        ("at", job.http_target.uri),
        ("job", launch.job_name),
        *((name, value) for name, value in sorted(launch.parameters.items())),
    ]
    if launch.environment.additional_pipeline_options:
        lines.append(("Beam's options", " ".join(launch.environment.additional_pipeline_options)))
    return columns(lines)


def _when(job: scheduler_v1.Job) -> str:
    zone = job.time_zone or "UTC"
    try:
        return str(Times(job.schedule, zone))
    except UsageError:  # Cloud Scheduler also accepts "every 12 hours", if somebody edited the schedule.
        return f"{job.schedule}, {zone}"


def _state(job: scheduler_v1.Job) -> str:
    state = scheduler_v1.Job.State(job.state)
    if state in (scheduler_v1.Job.State.STATE_UNSPECIFIED, scheduler_v1.Job.State.ENABLED):
        return ""
    return f", {state.name.lower().replace('_', ' ')}, so it launches nothing"


def _history(job: scheduler_v1.Job) -> Iterator[tuple[str, str]]:
    if job.schedule_time:
        yield "next", _utc(job.schedule_time)
    if job.last_attempt_time:
        status = job.status
        how = f"failed with code {status.code}{f', {status.message}' if status.message else ''}"
        yield "last", f"{_utc(job.last_attempt_time)}, {how if status.code else 'launched'}"


def _utc(moment: datetime) -> str:
    return f"{moment.astimezone(timezone.utc):%Y-%m-%d %H:%M} UTC"
