"""Beam's own options on the command line. An unknown option is an error."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from functools import cache

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


def switch(name: str, value: bool) -> list[str]:
    """Return the words that set a switch of Beam, such as ``--use_public_ips``, to a value.

    Raises UsageError where Beam has no word for it.
    """
    actions = _parser()._option_string_actions
    own = actions[name]
    if own.nargs != 0:
        return [f"{name}={str(value).lower()}"]
    wanted = own.const if value else not own.const
    for flag, action in actions.items():
        if action.dest == own.dest and action.nargs == 0 and action.const is wanted:
            return [flag]
    if bool(own.default) is not wanted:
        raise UsageError(f"Beam has no way to set {name} to {str(value).lower()}; leave it out")
    return []


def unknown(arguments: Sequence[str]) -> list[str]:
    """Return the arguments that Beam does not know. Raises UsageError for a wrong value of one of Beam's options."""
    try:
        return _parser().parse_known_args(list(arguments))[1]
    except argparse.ArgumentError as error:
        raise UsageError(str(error)) from error


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
