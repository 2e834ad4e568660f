"""The options of ``submit`` and ``nightly`` as parameters of the Flex Template, in both directions.

A parameter has the name of its option with underscores: ``--max-workers 20`` is ``max_workers=20``. A switch is
``true`` or ``false``. The values of a repeated option are in one parameter, with ``|`` between them:
``images=gs://bucket/a/**|gs://bucket/b.csv``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from apache_beam.options.pipeline_options import GoogleCloudOptions

from beamsight import options
from beamsight.options import Option
from runners.dataflow import options as dataflow
from runners.dataflow.submit_options import SubmitOptions
from runners.jobs import beam_options
from runners.jobs.options import RunOptions
from runners.nights.options import ConfigOptions, NightlyOptions
from transforms.errors import UsageError
from transforms.storage import files

if TYPE_CHECKING:
    from google.cloud import dataflow_v1beta3

SEPARATOR = "|"

# A launch carries these beside its parameters, and the launcher passes them on like parameters.
BESIDE = ("project", "region", "job_name")

_OPTIONS = options.of(RunOptions, NightlyOptions, ConfigOptions, SubmitOptions)


def metadata() -> dict[str, Any]:
    """Return what ``gcloud dataflow flex-template build --metadata-file`` takes: every parameter with its help."""
    return {
        "name": "beamsight",
        "description": "Classify and embed the images that the tables lack, into Parquet.",
        "parameters": [_described(each) for each in _OPTIONS if each.template is True and _name(each) not in BESIDE],
    }


def parse(parameters: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """Parse ``--name=value`` as the launcher gives it.

    Returns:
        The values of our options by field, and the other parameters, which are for Beam. An empty value counts as not
        given.

    Raises:
        UsageError: For a value that is not the option's, and for an option that a template cannot have.
    """
    ours = {_name(each): each for each in _OPTIONS}
    values: dict[str, Any] = {}
    rest: list[str] = []
    for parameter in parameters:
        name, _, text = parameter.removeprefix("--").partition("=")
        each = ours.get(name.replace("-", "_"))
        if each is None:
            rest.append(parameter)
        elif text:
            _require_parameter(each, name)
            values[each.field] = _value(each, text)
    return values, rest


def is_night(values: Mapping[str, Any]) -> bool:
    """Return whether values name days, so that they are for ``nightly`` and not for ``submit``."""
    days = {each.field for each in options.of(NightlyOptions)}
    return bool(days & values.keys()) or any("{date" in each or "{yesterday" in each for each in values["images"])


def models(parameters: Mapping[str, str]) -> dict[str, str]:
    """Return the classifier and the embedder of a launch."""
    return {
        each.field: parameters.get(each.field, each.default)
        for each in _OPTIONS
        if each.field in ("classifier", "embedder")
    }


def launch_request(
    template: str, values: Mapping[str, Any], beam: Sequence[str]
) -> dataflow_v1beta3.LaunchFlexTemplateRequest:
    """Make the request that launches a job.

    Args:
        template: The URI of the template.
        values: The given values of our options, by field.
        beam: Beam's own options.

    Raises:
        UsageError: Where the place is missing, or an option is not for a template.
    """
    from google.cloud import dataflow_v1beta3

    for field in ("project", "region"):
        if not values.get(field):
            raise UsageError(f"--{field} is missing; it says where {template} is launched")
    return dataflow_v1beta3.LaunchFlexTemplateRequest(
        project_id=values["project"],
        location=values["region"],
        launch_parameter=dataflow_v1beta3.LaunchFlexTemplateParameter(
            job_name=values.get("job_name") or "beamsight",  # of which Dataflow runs one at a time
            container_spec_gcs_path=template,
            parameters=dict(_parameters(values)),
            environment=_environment(options.build(SubmitOptions, values), values["output"], list(beam)),
        ),
    )


def _environment(where: SubmitOptions, output: str, beam: list[str]) -> dataflow_v1beta3.FlexTemplateRuntimeEnvironment:
    """Return what the machine of the launcher needs too, and what is for Beam."""
    from google.cloud import dataflow_v1beta3

    private = dataflow_v1beta3.WorkerIPAddressConfiguration.WORKER_IP_PRIVATE if where.no_public_ips else None
    delayed = dataflow_v1beta3.FlexResourceSchedulingGoal.FLEXRS_COST_OPTIMIZED if where.flexrs else None
    cloud = beam_options.parse(beam).view_as(GoogleCloudOptions)
    at = dataflow.folder(where.bucket, output)
    return dataflow_v1beta3.FlexTemplateRuntimeEnvironment(
        temp_location=cloud.temp_location or (at and files.join(at, "temp")),
        staging_location=cloud.staging_location or (at and files.join(at, "staging")),
        service_account_email=where.service_account,
        network=where.network,
        subnetwork=where.subnetwork,
        ip_configuration=private,
        flexrs_goal=delayed,
        additional_pipeline_options=beam,
    )


def _parameters(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for each in _OPTIONS:
        value = values.get(each.field, each.default)
        if _name(each) in BESIDE or value == each.default:
            continue
        _require_parameter(each, each.flag)
        yield _name(each), _text(each, value)


def _require_parameter(each: Option, name: str) -> None:
    if each.template is not True:
        raise UsageError(f"{name} is not for a template: {each.template or 'it belongs to the command line'}")


def _text(each: Option, value: Any) -> str:
    if each.count != 0:
        return each.text(value)
    for one in value:
        if SEPARATOR in one:
            raise UsageError(
                f"{each.flag} {one}: a template uses {SEPARATOR} between values; name the file in a manifest"
            )
    return SEPARATOR.join(map(each.text, value))


def _value(each: Option, text: str) -> Any:
    if each.is_switch:
        if text.lower() not in ("true", "false"):
            raise UsageError(f"{_name(each)}={text}: write true or false")
        return text.lower() == "true"
    return tuple(map(each.parse, text.split(SEPARATOR))) if each.count == 0 else each.parse(text)


def _described(each: Option) -> dict[str, Any]:
    described: dict[str, Any] = {
        "name": _name(each),
        "label": each.name.replace("-", " ").capitalize(),
        "helpText": each.described.replace("may be repeated", f"several have {SEPARATOR} between them"),
        "isOptional": not each.required,
        "paramType": "TEXT",
    }
    if each.is_switch:
        described |= {"paramType": "BOOLEAN", "regexes": ["^(true|false)$"]}
    elif each.choices:
        values = [{"value": choice, "label": choice} for choice in each.choices]
        described |= {"paramType": "ENUM", "enumOptions": values, "regexes": [f"^({'|'.join(each.choices)})$"]}
    else:
        number = "[1-9][0-9_,]*" if each.at_least else "[0-9]+"
        described["regexes"] = [f"^({each.pattern or (number if each.kind is int else '.+')})$"]
    if each.default and not each.required:
        described["defaultValue"] = each.text(each.default)
    return described


def _name(each: Option) -> str:
    """``max-workers`` -> ``max_workers``."""
    return each.name.replace("-", "_")


if __name__ == "__main__":
    print(json.dumps(metadata(), indent=2))
