"""The options of ``beamsight submit`` and the days of ``nightly`` as parameters of the Flex Template, there and back.

A parameter is called as its option, with underscores: ``--max-workers 20`` is ``max_workers=20``. Flags are ``true`` or
``false``. What may be repeated stands in one value with ``|`` between: ``images=gs://bucket/a/**|gs://bucket/b.csv``.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from apache_beam.options.pipeline_options import GoogleCloudOptions

from runners.cli import arguments_nightly, arguments_run
from runners.dataflow import options
from runners.jobs import beam_options
from transforms.errors import UsageError
from transforms.storage import files

if TYPE_CHECKING:
    from google.cloud import dataflow_v1beta3

SEPARATOR = "|"

# A launch says these beside its parameters, and the launcher hands them on like parameters.
BESIDE = ("project", "region", "job_name")
NOT_HERE = {
    "wait": "a launch returns at once; look at the job with `gcloud dataflow jobs show`, or submit with --wait",
    "config": "the launcher has no such file; say the options themselves",
    "on_finish": "nobody stays to post the report, and parameters are shown to many; use it with `submit --wait`",
}

_NUMBER = r"[0-9]+([.][0-9]*)?([eE][+-]?[0-9]+)?"
_URI = r"[a-z][a-z0-9+]*://[^|]+"
_DAY = "[0-9]{4}-[0-9]{2}-[0-9]{2}"
_LABEL = r"[a-z][a-z0-9_-]*=[a-z0-9_-]*"
_BY_TYPE: dict[Callable[[str], Any] | str | None, str] = {
    int: "[0-9]+",
    arguments_run.count: "[1-9][0-9_,]*",
    arguments_run.positive: _NUMBER,
}
_BY_NAME = {
    "images": f"{_URI}([|]{_URI})*",  # the launcher sees no disk but its own
    "output": _URI,
    "classifier": f"none|[a-z0-9_-]+|{_URI}",
    "embedder": f"none|[a-z0-9_-]+|{_URI}",
    "bucket": "gs://.+",
    "label": f"{_LABEL}([|]{_LABEL})*",
    "date": _DAY,
    "from": _DAY,
    "to": _DAY,
    "time_zone": "[A-Za-z0-9_+/-]+",
    "catch_up": "[0-9]+",
    "max_failures": f"[0-9]+|{_NUMBER}%",
    "service_account": "[^@ ]+@[^@ ]+",
}


def metadata() -> dict[str, Any]:
    """What ``gcloud dataflow flex-template build --metadata-file`` takes: every parameter, its help and its pattern."""
    return {
        "name": "beamsight",
        "description": "Classify and embed the images that the tables lack, into Parquet.",
        "parameters": [_described(action) for action in _options() if _name(action) not in (*BESIDE, *NOT_HERE)],
    }


def words(parameters: Sequence[str]) -> list[str]:
    """``--name=value`` as the launcher gives them -> words of the command. A value of nothing is none given.

    What is no option of ours goes on as it is, to Beam. Raises UsageError.
    """
    ours = {_name(action): action for action in _options()}
    made: list[str] = []
    for parameter in parameters:
        name, _, value = parameter.removeprefix("--").partition("=")
        action = ours.get(name.replace("-", "_"))
        if action is None:
            made.append(parameter)
        elif value and _name(action) in NOT_HERE:
            raise UsageError(f"{name} is no parameter of the template: {NOT_HERE[action.dest]}")
        elif value:
            made += _words(action, value)
    return made


def of_a_night(words: Sequence[str]) -> bool:
    """Whether words, as ``words`` makes them, name days: then they are ``nightly``'s, and else ``submit``'s."""
    made = argparse.ArgumentParser(add_help=False)
    arguments_nightly.add_days(made)
    days = {option for action in made._actions for option in action.option_strings}
    return any(word.partition("=")[0] in days or "{date" in word or "{yesterday" in word for word in words)


def models(parameters: Mapping[str, str]) -> dict[str, str]:
    """The classifier and the embedder of a launch."""
    return {
        action.dest: parameters.get(action.dest, action.default)
        for action in _options()
        if action.dest in ("classifier", "embedder")
    }


def launch_request(template: str, words: Sequence[str]) -> dataflow_v1beta3.LaunchFlexTemplateRequest:
    """The template's URI, and words of ``submit`` or ``nightly`` -> what launches that job. Raises UsageError."""
    from google.cloud import dataflow_v1beta3

    known, beam = _parser().parse_known_args(list(words))
    if not known.project or not known.region:
        raise UsageError(
            f"--{'region' if known.project else 'project'} is missing: where shall {template} be launched?"
        )
    return dataflow_v1beta3.LaunchFlexTemplateRequest(
        project_id=known.project,
        location=known.region,
        launch_parameter=dataflow_v1beta3.LaunchFlexTemplateParameter(
            job_name=known.job_name or "beamsight",  # of which Dataflow runs one at a time
            container_spec_gcs_path=template,
            parameters=dict(_parameters(known)),
            environment=_environment(known, beam),
        ),
    )


def _environment(known: argparse.Namespace, beam: list[str]) -> dataflow_v1beta3.FlexTemplateRuntimeEnvironment:
    """What the machine of the launcher needs to know too, and what is for Beam."""
    from google.cloud import dataflow_v1beta3

    private = dataflow_v1beta3.WorkerIPAddressConfiguration.WORKER_IP_PRIVATE if known.no_public_ips else None
    cloud = beam_options.parse(beam).view_as(GoogleCloudOptions)
    at = options.folder(known.bucket, known.output)
    return dataflow_v1beta3.FlexTemplateRuntimeEnvironment(
        temp_location=cloud.temp_location or (at and files.join(at, "temp")),
        staging_location=cloud.staging_location or (at and files.join(at, "staging")),
        service_account_email=known.service_account,
        network=known.network,
        subnetwork=known.subnetwork,
        ip_configuration=private,
        additional_pipeline_options=beam,
    )


def _parameters(known: argparse.Namespace) -> Iterator[tuple[str, str]]:
    for action in _options():
        value = getattr(known, action.dest)
        name = _name(action)
        if name in BESIDE or value == action.default:
            continue
        if name in NOT_HERE:
            raise UsageError(f"{action.option_strings[0]} is not for a template: {NOT_HERE[name]}")
        yield name, _text(action, value)


def _text(action: argparse.Action, value: Any) -> str:
    if not isinstance(value, list):
        return "true" if value is True else str(value)
    for each in value:
        if SEPARATOR in each:
            raise UsageError(
                f"{action.option_strings[0]} {each}: a template has {SEPARATOR} between values; name it in a manifest"
            )
    return SEPARATOR.join(value)


def _words(action: argparse.Action, value: str) -> list[str]:
    option = action.option_strings[0]
    if _is_flag(action):
        if value.lower() not in ("true", "false"):
            raise UsageError(f"{_name(action)}={value}: say true or false")
        return [option] if value.lower() == "true" else []
    return [f"{option}={each}" for each in (value.split(SEPARATOR) if _is_list(action) else [value])]


def _described(action: argparse.Action) -> dict[str, Any]:
    about = (action.help or "") % vars(action)
    described: dict[str, Any] = {
        "name": _name(action),
        "label": (action.option_strings[0].removeprefix("--").replace("-", " ")).capitalize(),
        "helpText": about.replace("may be repeated", f"several have {SEPARATOR} between them"),
        "isOptional": not action.required,
        "paramType": "TEXT",
    }
    if _is_flag(action):
        described |= {"paramType": "BOOLEAN", "regexes": ["^(true|false)$"]}
    elif action.choices:
        choices = [str(choice) for choice in action.choices]
        described |= {"paramType": "ENUM", "enumOptions": [{"value": choice, "label": choice} for choice in choices]}
        described["regexes"] = [f"^({'|'.join(choices)})$"]
    else:
        described["regexes"] = [f"^({_BY_NAME.get(_name(action)) or _BY_TYPE.get(action.type, '.+')})$"]
    if action.default not in (None, False, []):
        described["defaultValue"] = str(action.default)
    return described


def _name(action: argparse.Action) -> str:
    """``--max-workers`` -> ``max_workers``."""
    return action.option_strings[0].removeprefix("--").replace("-", "_")


def _is_flag(action: argparse.Action) -> bool:
    return isinstance(action, argparse._StoreTrueAction)


def _is_list(action: argparse.Action) -> bool:
    return isinstance(action, argparse._AppendAction)


def _options() -> list[argparse.Action]:
    return [action for action in _parser()._actions if not isinstance(action, argparse._HelpAction)]


def _parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(allow_abbrev=False)
    arguments_run.add_job(made)
    arguments_nightly.add_days(made)
    arguments_run.add_cloud(made)
    return made


if __name__ == "__main__":
    print(json.dumps(metadata(), indent=2))
