"""``beamsight schedule create | show | delete``: what was asked -> Cloud Scheduler, and its answer in words."""

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
from runners.template.scheduler_api import Retries, ScheduleRef
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
    parameter.parameters["time_zone"] = times.zone  # said always: it makes the launch that of a night
    account = asked.launch_as or parameter.environment.service_account_email
    if not account:
        raise UsageError(
            "no --launch-as: name the service account that launches the job each night; it needs the role Dataflow "
            "Developer, and Service Account User on the account of the workers"
        )
    ref = ScheduleRef(launch.project_id, asked.location or launch.location, name, asked.scheduler_endpoint)
    if send:
        _require_there(asked.template)
        _stage_models(parameter)
    parsed = beam_options.parse(parameter.environment.additional_pipeline_options)
    wanted = scheduler_api.build_job(
        ref,
        times,
        launch,
        account,
        Retries(asked.retries, asked.retry_wait, asked.attempt_deadline),
        parsed.view_as(GoogleCloudOptions).dataflow_endpoint,
    )
    if not send:
        return f"{_said(ref, wanted)}\n\nnothing was made"
    made, is_new = scheduler_api.create_or_update(ref, wanted)
    return f"{'created' if is_new else 'updated'}\n{_said(ref, made)}"


def ref_of(asked: PlaceOptions) -> ScheduleRef:
    """Return the schedule that the options name."""
    return ScheduleRef(asked.project, asked.location or asked.region or "", asked.name, asked.scheduler_endpoint)


def show(ref: ScheduleRef) -> str:
    """What a schedule does, in words. Raises UsageError where there is none of that name."""
    made = scheduler_api.find(ref)
    if made is None:
        raise UsageError(f"{_none(ref)}; `beamsight schedule create` makes one")
    return _said(ref, made)


def delete(ref: ScheduleRef) -> str:
    """Delete a schedule -> what became of it. That there is none is no error. What it launched goes on."""
    return f"deleted: schedule {ref}" if scheduler_api.delete(ref) else f"nothing to delete: {_none(ref)}"


def _none(ref: ScheduleRef) -> str:
    return f"there is no schedule {ref}"


def _require_there(uri: str) -> None:
    try:
        there = files.exists(uri)
    except FetchError as error:
        raise UsageError(f"--template {uri} cannot be looked up: {error}") from error
    if not there:
        raise UsageError(f"--template {uri} is not there; containers/build.sh makes it")


def _stage_models(parameter: dataflow_v1beta3.LaunchFlexTemplateParameter) -> None:
    """Have models be in the bucket, and name those: the launcher can stage none, and nobody would see that it fails."""
    beam = beam_options.parse([f"--temp_location={parameter.environment.temp_location}"])
    given = parameters.models(parameter.parameters)
    staged = {
        "classifier": checks.stage_model(given["classifier"], "classify", options.models_folder(beam)),
        "embedder": checks.stage_model(given["embedder"], "embed", options.models_folder(beam)),
    }
    parameter.parameters.update(staged)


def _said(ref: ScheduleRef, made: scheduler_v1.Job) -> str:
    launch = scheduler_api.read_launch(made)
    retries = made.retry_config
    lines: list[tuple[str, str]] = [
        ("schedule", f"{ref}{_state(made)}"),
        ("when", _when(made)),
        *_history(made),
        ("retries", f"{retries.retry_count}, the first after {duration(retries.min_backoff_duration.total_seconds())}"),
        ("time to answer", duration(made.attempt_deadline.total_seconds())),
        ("as", made.http_target.oauth_token.service_account_email),
        ("launches", launch.container_spec_gcs_path),
        ("at", made.http_target.uri),
        ("job", launch.job_name),
        *((name, value) for name, value in sorted(launch.parameters.items())),
    ]
    if launch.environment.additional_pipeline_options:
        lines.append(("Beam's options", " ".join(launch.environment.additional_pipeline_options)))
    return columns(lines)


def _when(made: scheduler_v1.Job) -> str:
    zone = made.time_zone or "UTC"
    try:
        return str(Times(made.schedule, zone))
    except UsageError:  # Cloud Scheduler takes English too, such as "every 12 hours", where somebody else wrote it
        return f"{made.schedule}, {zone}"


def _state(made: scheduler_v1.Job) -> str:
    state = scheduler_v1.Job.State(made.state)
    if state in (scheduler_v1.Job.State.STATE_UNSPECIFIED, scheduler_v1.Job.State.ENABLED):
        return ""
    return f", {state.name.lower().replace('_', ' ')}: it launches nothing"


def _history(made: scheduler_v1.Job) -> Iterator[tuple[str, str]]:
    if made.schedule_time:
        yield "next", _utc(made.schedule_time)
    if made.last_attempt_time:
        status = made.status
        how = f"failed with code {status.code}{f', {status.message}' if status.message else ''}"
        yield "last", f"{_utc(made.last_attempt_time)}, {how if status.code else 'launched'}"


def _utc(moment: datetime) -> str:
    return f"{moment.astimezone(timezone.utc):%Y-%m-%d %H:%M} UTC"
