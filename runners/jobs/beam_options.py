"""What is left of the command line for Beam -> its options, with nothing misspelt passed over."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import cache

from apache_beam.options.pipeline_options import (
    DirectOptions,
    FlinkRunnerOptions,
    PipelineOptions,
    PortableOptions,
    StandardOptions,
    WorkerOptions,
)

from transforms.errors import UsageError

DATAFLOW = "DataflowRunner"


def parse(arguments: Sequence[str]) -> PipelineOptions:
    """Arguments that are not ours -> Beam's options. Raises UsageError for one that is not Beam's either.

    Beam itself drops what it does not know with a line in the log, and a job without its misspelt option then runs.
    """
    if strange := unknown(arguments):
        raise UsageError(
            f"unknown option {strange[0]}; `beamsight run --help` lists ours, and Beam has none of that name"
            if strange[0].startswith("-")
            else f"{strange[0]} belongs to no option; a glob must stand in quotes, or the shell makes many words of it"
        )
    return PipelineOptions(list(arguments))


def unknown(arguments: Sequence[str]) -> list[str]:
    """Those that Beam has no option for. Raises UsageError for an option of Beam's that is used wrongly."""
    try:
        return _parser().parse_known_args(list(arguments))[1]
    except argparse.ArgumentError as error:
        raise UsageError(str(error)) from error


@cache
def names() -> frozenset[str]:
    """All options that Beam has, such as ``--runner``."""
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
    found = [cls for cls in base.__subclasses__() if "_add_argparse_args" in vars(cls)]
    return [cls for cls in found if cls.__module__.startswith("apache_beam.")]


def is_dataflow(arguments: Sequence[str]) -> bool:
    """Whether the arguments ask for Dataflow."""
    return parse(arguments).view_as(StandardOptions).runner == DATAFLOW


def workers(options: PipelineOptions) -> int:
    """How many workers the job may have, at least 1."""
    wanted = options.view_as(WorkerOptions)
    direct = options.view_as(DirectOptions).direct_num_workers
    flink = options.view_as(FlinkRunnerOptions).parallelism
    return max(1, wanted.num_workers or 0, wanted.max_num_workers or 0, direct or 0, flink or 0)


def sees_this_disk(options: PipelineOptions) -> bool:
    """Whether the workers of the runner can read and write this machine's files, as far as the options tell.

    Workers that Flink finds elsewhere (``EXTERNAL``, ``PROCESS``) may share a disk with this machine.
    """
    runner = options.view_as(StandardOptions).runner
    return runner != DATAFLOW and _environment(options, runner) != "DOCKER"


def _environment(options: PipelineOptions, runner: str | None) -> str | None:
    """Where Beam has the workers run; what it chooses where nothing is asked for, as its runners do."""
    asked = options.view_as(PortableOptions).environment_type
    if asked is not None:
        return str(asked)
    elsewhere = options.view_as(FlinkRunnerOptions).flink_master.strip() not in ("[local]", "[auto]")
    return "DOCKER" if runner == "PortableRunner" or (runner == "FlinkRunner" and elsewhere) else None
