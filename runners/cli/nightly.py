"""``beamsight nightly``: a run for a day and for the days before it that are not finished."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from beamsight import options
from runners.cli import codes, run
from runners.cli.parser import Command, Outcome, Parsed
from runners.cli.run import MessageOptions
from runners.dataflow.submit_options import Figures, SubmitOptions
from runners.jobs.options import RunOptions
from runners.nights.options import CONFIG, ConfigOptions, NightlyOptions

OPTIONS = (RunOptions, NightlyOptions, ConfigOptions, SubmitOptions, Figures, MessageOptions)


def nightly(parsed: Parsed) -> Outcome:
    """Run the days that are to be done."""
    parsed, file = with_config(parsed)
    messages = parsed.option(MessageOptions)
    if file and not messages.quiet:
        print(f"options from {file}", file=sys.stderr)
    return night(parsed, messages)


def night(parsed: Parsed, messages: MessageOptions) -> Outcome:
    """Run the days that are to be done, with all options given."""
    from runners.jobs import beam_options
    from runners.nights import check
    from runners.nights import nightly as nights

    job, where, days = (parsed.option(cls) for cls in (RunOptions, SubmitOptions, NightlyOptions))
    beam_options.parse(parsed.beam, ours=[each.flag for each in parsed.command.declared])
    on_dataflow = beam_options.is_dataflow(parsed.beam)
    if not on_dataflow:
        check.require_dataflow(where)
    now = datetime.now(timezone.utc)
    if messages.dry_run:
        job = nights.resolve_today(job, days, now)
    else:
        tonight = nights.resolve_days(job, days, now)
        job = tonight.options
        for line in tonight.messages if not messages.quiet else ():
            print(line, file=sys.stderr)
    outcome = run.on_dataflow(job, where, messages, parsed) if on_dataflow else run.here(job, messages, parsed.beam)
    return outcome._replace(problems=[*outcome.problems, *(job.night.warnings if job.night else ())])


def with_config(parsed: Parsed) -> tuple[Parsed, str | None]:
    """Add the options of the file, for which those on the command line stand in. Returns the file's name too."""
    from runners.cli import config_file

    file = parsed.values.get("config") or (CONFIG if Path(CONFIG).is_file() else None)
    if file is None:
        return parsed, None
    content = config_file.read(file, options.of(*OPTIONS))
    return parsed._replace(values={**content.values, **parsed.values}, beam=content.beam_words(parsed.beam)), file


def to_words(values: dict[str, Any], beam: Sequence[str], *, secrets: bool) -> list[str]:
    """Return given values as words of the command line. secrets: Whether to write out a webhook's URL."""
    words = []
    for each in options.of(*OPTIONS):
        if each.field not in values or each.field == "config":
            continue
        value = values[each.field]
        if each.is_switch:
            words.append(each.flag if value else each.opposite)
        else:
            several = value if each.count == 0 else (value,)
            words += [f"{each.flag}={each.text(one) if secrets else one}" for one in several]
    return [*words, *beam]


COMMAND = Command(
    name="nightly",
    summary="a run for a day, and for the days before it that are not finished",
    run=nightly,
    options=OPTIONS,
    description="Classify and embed the images of a day that the tables lack, and those of earlier days that no run "
    "has finished. In --images, {date:%Y/%m/%d} stands for the day and {yesterday:%Y/%m/%d} for the day before it, in "
    "the formats of strftime. All options of `run` apply, and with --runner=DataflowRunner those of `submit`. They may "
    f"also be in {CONFIG}, where Beam's own options are in the table [beam].",
    examples={
        "the images of yesterday": "beamsight nightly --images 'gs://bucket/photos/{yesterday:%Y/%m/%d}/**' --output "
        "gs://bucket/catalog",
        "a range of days": "beamsight nightly --from 2026-11-01 --to 2026-11-09",
        "with options from a file": "beamsight nightly --config nights/beamsight.toml",
    },
    notes=f"With --runner=DataflowRunner and without --wait, 0 says that the job was accepted.\n{codes.NOTE}",
    takes_beam=True,
)
