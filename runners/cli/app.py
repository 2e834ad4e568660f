"""The command: parse the words, run the command, print its outcome, return an exit code.

Exit codes: 0 done; 1 done, but more images failed than ``--max-failures`` allows, or ``tables --check`` found something
wrong; 2 wrong use; 3 the run itself failed; 4 another run works on the output; 5 done, but fewer images were listed
than ``--expect-at-least`` asks for; 130 interrupted (Ctrl-C); 143 terminated (SIGTERM).
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Sequence
from importlib import metadata
from typing import NoReturn

from runners.cli import completion, config, index, models, nightly, report, run, schedule, submit, tables
from runners.cli.codes import DONE, INTERRUPTED, LOCKED, RUN_FAILED, TERMINATED, WRONG_USE
from runners.cli.parser import Outcome, Parsed, Parser
from runners.jobs import interrupts
from transforms.errors import EngineError, FetchError, Locked, Stopped, UsageError

COMMANDS = (
    run.COMMAND,
    submit.COMMAND,
    nightly.COMMAND,
    config.COMMAND,
    *schedule.COMMANDS,
    report.COMMAND,
    tables.COMMAND,
    *index.COMMANDS,
    *models.COMMANDS,
    completion.COMMAND,
)
GROUPS = {
    "models": "List, stage, and compare models",
    "index": "Keep the key indexes of the tables",
    "schedule": "Run every night, by Cloud Scheduler, cron, or systemd",
    "config": "Check the file of options for `nightly`",
}


def parser() -> Parser:
    """Make the parser of all commands."""
    return Parser(metadata.version("beamsight"), COMMANDS, GROUPS)


def main(words: Sequence[str] | None = None) -> int:
    """Run one command. Returns its exit code."""
    given = list(sys.argv[1:] if words is None else words) or ["--help"]
    return execute(lambda: parser().parse(given), verbose="--verbose" in given)


def execute(parse: Callable[[], Parsed], *, verbose: bool) -> int:
    """Run the command that ``parse`` returns. Returns its exit code, also for an error."""
    _configure_logging(verbose)
    try:
        parsed = parse()
        with interrupts.handle_signals():
            outcome = parsed.command.run(parsed)
            return _finish(outcome)
    except KeyboardInterrupt as error:
        code = error.code if isinstance(error, interrupts.Interrupted) else INTERRUPTED
        return _fail("interrupted; finished images are kept, and the same command continues from there", code)
    except Exception as error:
        if verbose:
            logging.getLogger("beamsight").exception("traceback")
        return _fail(*_explain(error))


def _explain(error: Exception) -> tuple[str, int]:
    """Return the message and the exit code of an error."""
    from runners.jobs import ending

    if isinstance(error, ending.WatchEnded):
        return str(error), error.code
    if isinstance(error, ending.RunFailed):
        return f"the run failed: {error}\nfinished images are kept; the same command continues from there", RUN_FAILED
    if isinstance(error, Locked):
        return str(error), LOCKED
    if isinstance(error, (UsageError, FetchError)):
        return str(error), WRONG_USE
    if isinstance(error, Stopped):
        return str(error), RUN_FAILED
    if isinstance(error, EngineError):
        return f"the model cannot be run: {error}", RUN_FAILED
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return f"unexpected error: {text}; add --verbose for the traceback, and please report it", RUN_FAILED


def _configure_logging(verbose: bool) -> None:
    level = logging.INFO if verbose else logging.WARNING
    logging.basicConfig(level=level, format="%(levelname)s %(name)s: %(message)s")
    # What stops a job is reported once, at its end.
    logging.getLogger("apache_beam").setLevel(logging.WARNING if verbose else logging.CRITICAL)


def _finish(outcome: Outcome) -> int:
    """Print an outcome, and return its exit code. What was done stays done, even if stdout cannot be written."""
    reason = _print(f"{outcome.text}\n") if outcome.text else None
    for problem in outcome.problems:
        _fail(problem, outcome.code)
    if reason is None:
        return outcome.code
    if outcome.lasts:
        return _fail(f"the command is done, but its summary cannot be written to stdout: {reason}", outcome.code)
    return _fail(f"cannot write to stdout: {reason}", RUN_FAILED)


def _print(text: str) -> str | None:
    """Print on stdout. Return why it cannot be written, or None.

    A reader that closes the pipe early, such as ``head``, is no failure.
    """
    try:
        print(text, end="", flush=True)
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush when Python exits
        return None if isinstance(error, BrokenPipeError) else str(error.strerror)
    return None


def _fail(message: str, code: int) -> int:
    for line in message.splitlines():
        print(f"beamsight: {line}", file=sys.stderr)
    return code


def entry() -> NoReturn:
    """Run the command and exit. A command that was stopped waits for no thread, such as one that fetches an image."""
    try:
        code = main()
    except SystemExit:  # after --help and --version
        reason = _print("")
        code = DONE if reason is None else _fail(f"cannot write to stdout: {reason}", RUN_FAILED)
    if code in (RUN_FAILED, INTERRUPTED, TERMINATED):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)
