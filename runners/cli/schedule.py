"""``beamsight schedule``: run ``nightly`` every night, by Cloud Scheduler, cron, or systemd."""

from __future__ import annotations

import sys
from datetime import datetime, timezone
from pathlib import Path

from runners.cli import nightly
from runners.cli.parser import Command, Outcome, Parsed
from runners.cli.run import MessageOptions
from runners.nights.options import NightlyOptions
from runners.template.options import CreateOptions, PlaceOptions, PrintOptions, TimesOptions
from transforms.errors import UsageError


def _create(parsed: Parsed) -> Outcome:
    from runners.jobs import beam_options
    from runners.template import cloud_schedule
    from runners.template.cron_fields import Times

    asked, times = parsed.option(CreateOptions), parsed.option(TimesOptions)
    parsed, file = nightly.with_config(parsed)
    if file:
        print(f"options from {file}", file=sys.stderr)
    # The launcher has an image and a runner of its own.
    runner = beam_options.runner_of(parsed.beam)
    if runner not in (None, beam_options.DATAFLOW):
        raise UsageError(f"--runner {runner}: Cloud Scheduler launches only {beam_options.DATAFLOW}")
    beam = [word for word in parsed.beam if not word.startswith("--runner")]
    launched = {"container_image": "of-the-launcher", **parsed.values}
    _check_any_night(parsed._replace(values=launched, beam=[*beam, f"--runner={beam_options.DATAFLOW}"]), ask=False)
    zone = parsed.option(NightlyOptions).time_zone
    when = Times.daily(times.at, zone) if times.at else Times(times.times or "", zone)
    send = not parsed.option(MessageOptions).dry_run
    values = {key: value for key, value in parsed.values.items() if key not in ("config", "dry_run")}
    return Outcome(cloud_schedule.create(asked, times.name, when, values, beam, send=send), lasts=send)


def _print(parsed: Parsed) -> Outcome:
    from runners.template import local_schedule
    from runners.template.cron_fields import Times
    from runners.template.local_schedule import Timer

    asked, times = parsed.option(PrintOptions), parsed.option(TimesOptions)
    words = nightly.to_words(parsed.values, parsed.beam, secrets=True)
    parsed, file = nightly.with_config(parsed)
    warnings = _check_any_night(parsed, ask=True)
    zone = parsed.option(NightlyOptions).time_zone
    if file:
        words.append(f"--config={Path(file).absolute()}")  # which is found from any folder
    timer = Timer(
        times=Times.daily(times.at, zone) if times.at else Times(times.times or "", zone),
        arguments=("nightly", *words),
        folder=str(Path.cwd()),
        log=asked.log or f"{times.name}.log",
        name=times.name,
    )
    return Outcome(
        local_schedule.format_crontab(timer)
        if asked.cron
        else local_schedule.format_install_commands(local_schedule.format_units(timer)),
        problems=warnings,
    )


def _show(parsed: Parsed) -> Outcome:
    from runners.template import cloud_schedule

    return Outcome(cloud_schedule.show(cloud_schedule.ref_of(parsed.option(PlaceOptions))))


def _delete(parsed: Parsed) -> Outcome:
    from runners.template import cloud_schedule

    return Outcome(cloud_schedule.delete(cloud_schedule.ref_of(parsed.option(PlaceOptions))), lasts=True)


def _check_any_night(parsed: Parsed, *, ask: bool) -> tuple[str, ...]:
    """Return warnings about a night. Raises UsageError where the options cannot start one, or name one day."""
    from runners.nights import check

    night = check.check(parsed.values, parsed.beam, datetime.now(timezone.utc), ask=ask)
    for flag, value in (("--date", night.days.day), ("--from", night.days.first), ("--to", night.days.last)):
        if value is not None:
            raise UsageError(f"{flag} {value} would be the same every night; leave it out")
    return night.warnings


COMMANDS = (
    Command(
        "schedule create",
        "have Cloud Scheduler launch the Flex Template every night",
        _create,
        (CreateOptions, TimesOptions),
        more=nightly.OPTIONS,
        description="Create the schedule of Cloud Scheduler that launches the Flex Template, or update the one of that "
        "name. All options of `beamsight nightly` apply too, also from a file. The days in --images are filled in when "
        "the job starts.",
        takes_beam=True,
    ),
    Command("schedule show", "show what a schedule launches, and when", _show, (PlaceOptions,)),
    Command("schedule delete", "delete a schedule", _delete, (PlaceOptions,)),
    Command(
        "schedule print",
        "print `beamsight nightly` as lines for crontab, or as units of systemd",
        _print,
        (PrintOptions, TimesOptions),
        more=nightly.OPTIONS,
        description="Print `beamsight nightly` for the scheduler of this machine, to run in this folder. All options "
        "of `beamsight nightly` apply too, and are checked.",
        takes_beam=True,
    ),
)
