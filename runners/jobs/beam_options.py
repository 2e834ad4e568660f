"""Beam's own options on the command line. An unknown option is an error."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from functools import cache
from typing import Any

from apache_beam.options.pipeline_options import (
    DirectOptions,
    FlinkRunnerOptions,
    PipelineOptions,
    PortableOptions,
    StandardOptions,
    WorkerOptions,
)

from beamsight.text import nearest
from transforms.errors import UsageError

DATAFLOW = "DataflowRunner"

# What only machines in a cloud have, by what the options set. Other runners ignore it without a message.
_CLOUD = frozenset(
    {
        *("project", "region", "worker_region", "zone", "worker_zone", "machine_type", "min_cpu_platform"),
        *("disk_size_gb", "disk_type", "disk_provisioned_iops", "disk_provisioned_throughput_mibps"),
        *("network", "subnetwork", "use_public_ips", "service_account_email", "dataflow_kms_key"),
        *("autoscaling_algorithm", "dataflow_service_options", "flexrs_goal"),
    }
)


def parse(arguments: Sequence[str], ours: Iterable[str] = ()) -> PipelineOptions:
    """Parse the arguments that are not ours. Raises UsageError for one that Beam does not have either.

    Beam itself drops an unknown option with a line in the log, and a job without its misspelt option then runs.

    Args:
        arguments: Words for Beam.
        ours: Our own options, among which a misspelt one is looked for too.
    """
    if rest := unknown(arguments):
        if not rest[0].startswith("-"):
            raise UsageError(f"unexpected argument {rest[0]}; put a glob in quotes, or the shell expands it")
        name = rest[0].partition("=")[0]
        raise UsageError(f"unknown option {name}, neither of beamsight nor of Beam{nearest(name, [*ours, *names()])}")
    options = PipelineOptions(list(arguments))
    standard = options.view_as(StandardOptions)
    standard.runner = _runner(standard.runner)
    return options


def _runner(name: str | None) -> str | None:
    """Return a runner's name as Beam writes it. Raises UsageError for an unknown one. A dotted name is a class."""
    if name is None or "." in name:
        return name
    known = {each.lower(): each for each in StandardOptions.KNOWN_RUNNER_NAMES}
    found = known.get(name.lower()) or known.get(f"{name.lower()}runner")
    if found is None:
        raise UsageError(
            f"--runner {name} is not a runner{nearest(name, known.values())}; the runners are "
            f"{', '.join(sorted(known.values()))}"
        )
    return found


def words(name: str, value: Any) -> list[str]:
    """Return the words that set an option of Beam, such as ``--num_workers``, to a value of TOML.

    A switch takes true or false, a repeated option takes a list, and an option with JSON takes a table.

    Raises:
        UsageError: Beam would drop the value, or read another one.
    """
    own = _parser()._option_string_actions[name]
    if own.nargs == 0:
        return _switch(name, value)
    if value == [] or value == {}:
        raise UsageError("it is empty; give a value, or leave the option out")
    several = isinstance(value, list)
    if several and any(isinstance(each, bool | dict | list) for each in value):
        raise UsageError("write a list of texts and numbers")
    found = [f"{name}={_text(each)}" for each in (value if several else [value])]
    read = getattr(_parse_known(found)[0], own.dest)
    if several and not isinstance(read, list | dict):
        raise UsageError("Beam takes one value here; write it without a list")
    if isinstance(value, bool | dict) and isinstance(read, list):
        raise UsageError('Beam takes a list of texts here; write one such as ["key=value"]')
    if isinstance(value, dict) and not _has_keys(read, value):
        raise UsageError("Beam takes one value here; write a text or a number instead of a table")
    return found


def _has_keys(read: Any, value: Mapping[str, Any]) -> bool:
    # Beam puts a prefix before the keys of one option, gcs_custom_audit_entries.
    return isinstance(read, dict) and all(any(name.endswith(key) for name in read) for key in value)


def destination(name: str) -> str:
    """Return what an option of Beam sets, which its other names set too: ``use_public_ips`` for ``--no_...``."""
    own = _parser()._option_string_actions.get(name)
    return name if own is None else own.dest


def _switch(name: str, value: Any) -> list[str]:
    if not isinstance(value, bool):
        raise UsageError("write true or false")
    actions = _parser()._option_string_actions
    own = actions[name]
    wanted = own.const if value else not own.const
    for flag, action in actions.items():
        if action.dest == own.dest and action.nargs == 0 and action.const is wanted:
            return [flag]
    if bool(own.default) is not wanted:
        raise UsageError(f"Beam has no way to set {name} to {str(value).lower()}; leave it out")
    return []


def _text(value: Any) -> str:
    """Return one value of TOML as Beam reads it."""
    if isinstance(value, dict | bool):
        return json.dumps(value)
    if not isinstance(value, str | int | float | date):
        raise UsageError("write a text, a number, a list of them, or a table with names")
    return str(value)


def unknown(arguments: Sequence[str]) -> list[str]:
    """Return the arguments that Beam does not know. Raises UsageError for a wrong value of one of Beam's options."""
    return _parse_known(arguments)[1]


def _parse_known(arguments: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    try:
        return _parser().parse_known_args(list(arguments))
    except argparse.ArgumentError as error:
        raise UsageError(str(error)) from error
    except (ValueError, TypeError, AttributeError) as error:  # of the options that Beam itself reads as JSON
        raise UsageError(f"Beam cannot read {' '.join(arguments)}: {error}") from error


@cache
def names() -> frozenset[str]:
    """Return all options that Beam has, such as ``--runner``."""
    return frozenset(_parser()._option_string_actions)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    for options in _all_subclasses(PipelineOptions):
        known = argparse.ArgumentParser(add_help=False, conflict_handler="resolve")
        options._add_argparse_args(known)
        for action in known._actions:
            if not set(action.option_strings) & set(parser._option_string_actions):
                parser._add_action(action)
    return parser


def _all_subclasses(base: type[PipelineOptions]) -> list[type[PipelineOptions]]:
    classes = [cls for cls in base.__subclasses__() if "_add_argparse_args" in vars(cls)]
    return [cls for cls in classes if cls.__module__.startswith("apache_beam.")]


def runner_of(arguments: Sequence[str]) -> str | None:
    """Return the runner that the arguments name."""
    runner: str | None = parse(arguments).view_as(StandardOptions).runner
    return runner


def require_cloud(arguments: Sequence[str]) -> None:
    """Raise UsageError for options of machines in a cloud where the runner has none. A dotted name may have some."""
    runner = runner_of(arguments) or ""
    if "Dataflow" in runner or "." in runner:
        return
    flags = [word.partition("=")[0] for word in arguments if word.startswith("--")]
    if cloud := [flag for flag in flags if destination(flag) in _CLOUD]:
        verb = "is" if len(cloud) == 1 else "are"
        raise UsageError(f"{', '.join(cloud)} {verb} for machines in a cloud; add --runner={DATAFLOW}, or leave it out")


def is_dataflow(arguments: Sequence[str]) -> bool:
    """Return whether the arguments choose the Dataflow runner."""
    return runner_of(arguments) == DATAFLOW


def workers(options: PipelineOptions) -> int:
    """Return the maximum number of workers of the job, at least 1."""
    pool = options.view_as(WorkerOptions)
    direct = options.view_as(DirectOptions).direct_num_workers
    flink = options.view_as(FlinkRunnerOptions).parallelism
    return max(1, pool.num_workers or 0, pool.max_num_workers or 0, direct or 0, flink or 0)


def sees_this_disk(options: PipelineOptions) -> bool:
    """Return whether the workers can read and write the files of this machine, as far as the options show.

    Workers of Flink on other machines (``EXTERNAL``, ``PROCESS``) may share a disk with this one, so they count as yes.
    """
    runner = options.view_as(StandardOptions).runner
    return runner != DATAFLOW and _environment(options, runner) != "DOCKER"


def _environment(options: PipelineOptions, runner: str | None) -> str | None:
    """Return the type of the workers' environment. Without an option, this is the default of Beam's runner."""
    given = options.view_as(PortableOptions).environment_type
    if given is not None:
        return str(given)
    remote = options.view_as(FlinkRunnerOptions).flink_master.strip() not in ("[local]", "[auto]")
    return "DOCKER" if runner == "PortableRunner" or (runner == "FlinkRunner" and remote) else None
