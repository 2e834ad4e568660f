"""The words of ``beamsight nightly`` and ``beamsight config``: those of ``submit``, the days, and a file of options."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from datetime import date
from pathlib import Path

from runners.cli import arguments_run, config_file
from runners.cli.config_file import Read

CONFIG = "beamsight.toml"

_EXIT_CODES = f"{arguments_run.EXIT_CODES} With --runner=DataflowRunner and without --wait, 0: the job was accepted."


def add_nightly(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """``nightly``: all that ``run`` and ``submit`` take, and which days."""
    nightly = commands.add_parser(
        "nightly",
        help="a run for a day, and for the days before it that are not settled",
        description="Do the images of a day that the tables lack, and those of the days before it that no run settled. "
        "In --images, {date:%Y/%m/%d} stands for the day, {yesterday:%Y/%m/%d} for the day before it, both in formats "
        "of strftime. All options of `run`, and with --runner=DataflowRunner those of `submit`; they may stand in a "
        "file too, where options that are not listed go into its table [beam].",
        epilog=_EXIT_CODES.replace("%", "%%"),
        allow_abbrev=False,
    )
    add_days(nightly)
    arguments_run.add_job(nightly)
    arguments_run.add_cloud(nightly)
    _add_opposites(nightly)


def add_config(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """``config check``."""
    actions = commands.add_parser(
        "config", help="the file of options for `nightly`", allow_abbrev=False
    ).add_subparsers(dest="action", required=True, metavar="ACTION")
    check = actions.add_parser(
        "check", help="say what is wrong with it, or else what would run today", allow_abbrev=False
    )
    check.add_argument("file", nargs="?", default=CONFIG, metavar="FILE", help="default: %(default)s")


def with_config(words: Sequence[str]) -> tuple[list[str], str | None]:
    """Words after ``nightly`` -> the same after those of the file of options, and which file that was.

    What the command line says of an option counts, and not what the file says. Raises UsageError.
    """
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--config")
    first.add_argument("-h", "--help", action="store_true")
    known, _ = first.parse_known_args(words)
    file = known.config or (CONFIG if Path(CONFIG).is_file() else None)
    if known.help or file is None:
        return [*words], None
    return [*read(file).words(words), *words], file


def read(file: str) -> Read:
    """A file of options, checked against those there are. Raises UsageError."""
    return config_file.read(file, _options())


def day(text: str) -> date:
    """``2026-11-20`` -> a day."""
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no day such as 2026-11-20") from error


def add_days(parser: argparse.ArgumentParser) -> None:
    """Which days, and the file of options."""
    add = parser.add_argument_group("which days").add_argument
    add("--date", type=day, metavar="DAY", help="the day, such as 2026-11-20 (default: today)")
    add("--from", type=day, dest="first", metavar="DAY", help="all days from this one on, and none besides")
    add("--to", type=day, dest="last", metavar="DAY", help="... up to this one (default: today)")
    add("--time-zone", default="UTC", metavar="NAME", help="that tells today, such as Europe/Berlin (default: UTC)")
    add(
        "--catch-up",
        type=_whole,
        default=7,
        metavar="N",
        help="look so many days back for days that no run settled (default: %(default)s)",
    )
    add("--config", metavar="FILE", help=f"options (default: {CONFIG}, where there is one)")


def _add_opposites(parser: argparse.ArgumentParser) -> None:
    """``--no-normalize`` for ``--normalize``, so that the command line can take back what the file says."""
    for action in [each for each in parser._actions if isinstance(each, argparse._StoreTrueAction)]:
        name = action.option_strings[0].removeprefix("--")
        opposite = name.removeprefix("no-") if name.startswith("no-") else f"no-{name}"
        # The default is said again, as each action sets its own.
        parser.add_argument(
            f"--{opposite}", action="store_false", dest=action.dest, default=False, help=argparse.SUPPRESS
        )


def _options() -> list[argparse.Action]:
    """The options that a file may hold."""
    made = argparse.ArgumentParser(add_help=False)
    add_days(made)
    arguments_run.add_job(made)
    arguments_run.add_cloud(made)
    return made._actions


def _whole(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text} is less than 0")
    return value
