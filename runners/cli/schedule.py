"""``beamsight schedule``: arguments in, frozen options out, what a person reads back."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from runners.cli import arguments_nightly
from runners.jobs import beam_options
from runners.template import local_schedule
from runners.template.cron_fields import Times
from runners.template.local_schedule import Timer
from transforms.errors import UsageError

# Words of `nightly` -> what they say; raises UsageError for words with which no night could start.
Check = Callable[[Sequence[str]], argparse.Namespace]


def main(known: argparse.Namespace, rest: Sequence[str], check: Check) -> str:
    """Do it -> what there is to say. rest: what the command did not know, for ``nightly``. Raises UsageError."""
    if known.action == "print":
        return _print(known, rest, check)
    if known.action == "create":
        return _create(known, rest, check)
    if rest:
        raise UsageError(f"unknown option {rest[0]}; `beamsight schedule {known.action} --help` lists what there is")
    from runners.template import cloud_schedule
    from runners.template.scheduler_api import Place

    place = Place(known.project, known.location, known.name, known.scheduler_endpoint)
    return cloud_schedule.show(place) if known.action == "show" else cloud_schedule.delete(place)


def _create(known: argparse.Namespace, rest: Sequence[str], check: Check) -> str:
    from runners.template import cloud_schedule, scheduler_api

    words, file = arguments_nightly.with_config(_with_zone(known, rest))
    if file:
        print(f"options from {file}", file=sys.stderr)
    words = _for_launcher(words)
    launchers = ("--container-image=of-the-launcher", f"--runner={beam_options.DATAFLOW}")
    night = _checked([*launchers, *words], check)
    asked = cloud_schedule.CreateOptions(
        template=known.template,
        times=_times(known, night.time_zone),
        words=tuple(words),
        name=known.name,
        location=known.location,
        launch_as=known.launch_as,
        retries=scheduler_api.Retries(known.retries, known.retry_wait, known.attempt_deadline),
        endpoint=known.scheduler_endpoint,
    )
    return cloud_schedule.create(asked, send=not known.dry_run)


def _print(known: argparse.Namespace, rest: Sequence[str], check: Check) -> str:
    given = _with_zone(known, rest)
    words, file = arguments_nightly.with_config(given)
    night = _checked(words, check)
    # The last --config counts, and this one is found from anywhere.
    said = [*given, f"--config={Path(file).absolute()}"] if file else given
    timer = Timer(
        times=_times(known, night.time_zone),
        words=("nightly", *said),
        folder=str(Path.cwd()),
        log=known.log or f"{known.name}.log",
        name=known.name,
    )
    return (
        local_schedule.crontab(timer)
        if known.kind == "cron"
        else local_schedule.as_files(local_schedule.systemd(timer))
    )


def _for_launcher(words: Sequence[str]) -> list[str]:
    """Without what the launcher says for itself, and the file that was read here. Raises UsageError."""
    here = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    here.add_argument("--config")
    here.add_argument("--runner", default=beam_options.DATAFLOW)
    found, rest = here.parse_known_args(list(words))
    if found.runner != beam_options.DATAFLOW:
        raise UsageError(f"--runner {found.runner}: a schedule of the cloud launches on {beam_options.DATAFLOW} alone")
    return rest


def _checked(words: Sequence[str], check: Check) -> argparse.Namespace:
    night = check(words)
    for option, value in (("--date", night.date), ("--from", night.first), ("--to", night.last)):
        if value is not None:
            raise UsageError(f"{option} {value} would be the same every night; leave it out")
    return night


def _with_zone(known: argparse.Namespace, rest: Sequence[str]) -> list[str]:
    return [*rest, f"--time-zone={known.time_zone}"] if known.time_zone else [*rest]


def _times(known: argparse.Namespace, zone: str) -> Times:
    return Times.daily(known.at, zone) if known.at else Times(known.times, zone)
