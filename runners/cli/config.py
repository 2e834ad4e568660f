"""``beamsight config check``: what is wrong with the file of options, or what would run today."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone

from beamsight import options
from beamsight.options import option
from runners.cli import nightly
from runners.cli.parser import Command, Outcome, Parsed
from runners.nights.options import CONFIG


@dataclass(frozen=True, slots=True)
class CheckOptions:
    """Which file."""

    file: str = option(CONFIG, positional=True, metavar="FILE", help="File of options")


def check(parsed: Parsed) -> Outcome:
    """Check a file, the models, output, and images that it names, and show what would run today."""
    from runners.cli import config_file
    from runners.nights import check as checks
    from runners.nights import nightly as nights

    file = parsed.option(CheckOptions).file
    content = config_file.read(file, options.of(*nightly.OPTIONS))
    beam, now = content.beam_words(()), datetime.now(timezone.utc)
    night = checks.check(content.values, beam, now, ask=True)
    job, days = night.job, night.days
    images = [f"--images={source}" for source in nights.resolve_today(job, days, now).images]
    others = nightly.to_words(
        {key: value for key, value in content.values.items() if key != "images"}, beam, secrets=False
    )
    lines = [
        f"{file} is valid. Today, {days.today(now)} in {days.time_zone}, `beamsight nightly` runs with",
        "",
        *(f"  {line}" for line in (*images, *others)),
        "",
        f"and also lists the unfinished days of the {days.catch_up} days before",
    ]
    return Outcome("\n".join(lines), problems=night.warnings)


COMMAND = Command(
    name="config check",
    summary="say what is wrong with a file of options, or what would run today",
    run=check,
    options=(CheckOptions,),
)
