"""The command line: arguments in, frozen options out, an exit code back. The rest never sees a Namespace.

Exit codes: 0 done; 1 done, but more images failed than ``--max-failures`` allows; 2 wrong use; 3 the run itself failed;
4 another run works on the output; 5 done, but fewer images were listed than ``--expect-at-least`` asks for; 130
interrupted (Ctrl-C); 143 terminated (SIGTERM).
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, NoReturn

from runners.cli import arguments, arguments_nightly, models, schedule
from runners.jobs import interrupts
from runners.jobs.interrupts import Interrupted
from transforms.errors import EngineError, FetchError, Locked, UsageError
from transforms.inference import engines

if TYPE_CHECKING:
    from runners.dataflow.options import SubmitOptions
    from runners.jobs.options import RunOptions
    from runners.nights.nightly import NightlyOptions

DONE, TOO_MANY_FAILURES, WRONG_USE, RUN_FAILED, LOCKED, TOO_FEW_IMAGES = 0, 1, 2, 3, 4, 5
INTERRUPTED, TERMINATED = 130, 143


def main(words: Sequence[str] | None = None) -> int:
    """Run one command -> its exit code."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("apache_beam").setLevel(logging.CRITICAL)  # what stops a job is said once, at the end
    parser = arguments.parser()
    words = list(sys.argv[1:] if words is None else words)
    try:
        if words[:1] == ["nightly"]:
            words = _with_config(words)
        known, rest = parser.parse_known_args(words)
        with interrupts.heeded():
            return _command(known, rest, parser)
    except Locked as error:
        return _say(str(error), LOCKED)
    except (UsageError, FetchError) as error:
        return _say(str(error), WRONG_USE)
    except EngineError as error:
        return _say(f"the model cannot be run: {error}", RUN_FAILED)
    except KeyboardInterrupt as error:
        code = error.code if isinstance(error, Interrupted) else INTERRUPTED
        return _say("interrupted; what was finished is kept, and the same command goes on from there", code)


def _command(known: argparse.Namespace, rest: list[str], parser: argparse.ArgumentParser) -> int:
    if known.command in ("run", "submit", "nightly"):
        return _run(known, rest)
    if known.command == "schedule":
        print(schedule.main(known, rest, lambda words: _night(words)[0]))
        return DONE
    if rest:
        parser.error(f"unknown option {rest[0]}")
    if known.command == "config":
        return _check_config(known.file)
    return _report(known) if known.command == "report" else models.main(known)


def _run(known: argparse.Namespace, rest: list[str]) -> int:
    from runners.dataflow import job_state
    from runners.jobs import beam_options, ending, run

    options = _run_options(known)
    try:
        elsewhere = known.command == "submit" or beam_options.is_dataflow(rest)
        if known.command == "nightly":
            options = _tonight(known, options, elsewhere)
        if elsewhere:
            return _submit(known, options, rest)
        return _ended(options, run.run(options, rest, sys.stderr, job_state.asking(beam_options.parse(rest))))
    except ending.RunFailed as error:
        return _say(
            f"the run failed: {error}\nwhat it had finished is kept; the same command goes on from there",
            RUN_FAILED,
        )
    except ending.LeftAlone as error:
        return _say(str(error), error.code)


def _submit(known: argparse.Namespace, options: RunOptions, rest: list[str]) -> int:
    from runners.dataflow import dry_run, submit
    from runners.dataflow.options import SubmitOptions

    where = SubmitOptions(wait=True) if known.command == "run" else _submit_options(known)
    if known.command != "run" and known.dry_run:
        figures = dry_run.Figures(known.count, known.images_per_second, known.machine_price)
        print(dry_run.describe(options, where, rest, figures))
        return DONE
    sent = submit.submit(options, where, rest, sys.stderr)
    if sent.report is not None:
        return _ended(options, sent.report)
    print(submit.said(sent, options.output))
    return DONE


def _with_config(words: list[str]) -> list[str]:
    words, file = arguments_nightly.with_config(words[1:])
    if file:
        print(f"options from {file}", file=sys.stderr)
    return ["nightly", *words]


def _tonight(known: argparse.Namespace, options: RunOptions, elsewhere: bool) -> RunOptions:
    from runners.nights import nightly

    if not elsewhere:
        nightly.require_dataflow(_submit_options(known), known.dry_run)
    now = datetime.now(timezone.utc)
    if known.dry_run:
        return nightly.of_today(options, _nightly_options(known), now)
    tonight = nightly.settle(options, _nightly_options(known), now)
    for line in tonight.said:
        print(line, file=sys.stderr)
    return tonight.options


def _nightly_options(known: argparse.Namespace) -> NightlyOptions:
    from runners.nights.nightly import NightlyOptions

    return NightlyOptions(known.date, known.first, known.last, known.time_zone, known.catch_up)


def _check_config(file: str) -> int:
    from runners.nights import nightly

    words = arguments_nightly.read(file).words()
    known, options = _night(words)
    print(nightly.described(file, words, options, _nightly_options(known), datetime.now(timezone.utc)))
    return DONE


def _night(words: Sequence[str]) -> tuple[argparse.Namespace, RunOptions]:
    """Words of ``nightly`` -> what they say, where a night could start with them. Asks no server. Raises UsageError."""
    from runners.dataflow import checks
    from runners.jobs import beam_options, resolve
    from runners.nights import day_patterns, nightly

    known, rest = arguments.parser().parse_known_args(["nightly", *words])
    options, where = _run_options(known), _submit_options(known)
    if beam_options.is_dataflow(rest):
        beam = where.to_beam(options.output, rest)
        resolve.require_visible(options, beam, models=False)
        checks.require_named(beam)
    else:
        nightly.require_dataflow(where, known.dry_run)
    today = _nightly_options(known).today(datetime.now(timezone.utc))
    for pattern in options.images:
        day_patterns.expand(pattern, today)
    return known, options


def _ended(options: RunOptions, done: dict[str, Any]) -> int:
    from beamsight.reports import criteria, run_report
    from runners.jobs import resolve

    print(run_report.summary(done, resolve.output_of(options)))
    codes = {criteria.TOO_FEW_IMAGES: TOO_FEW_IMAGES, criteria.TOO_MANY_FAILURES: TOO_MANY_FAILURES}
    ended = [_say(problem["message"], codes[problem["kind"]]) for problem in done["problems"]]
    return ended[0] if ended else DONE


def _run_options(known: argparse.Namespace) -> RunOptions:
    from beamsight.reports.criteria import MaxFailures
    from runners.jobs.options import RunOptions
    from runners.jobs.webhook import Webhook
    from transforms.imaging.prepare import Limits

    return RunOptions(
        images=tuple(known.images),
        output=known.output,
        classifier=known.classifier,
        embedder=known.embedder,
        uri_column=known.uri_column,
        retry_failed=known.retry_failed,
        max_attempts=known.max_attempts,
        check_versions=known.check_versions,
        top_k=known.top_k,
        probabilities=known.probabilities,
        normalize=known.normalize,
        limits=Limits(max_bytes=known.max_bytes, max_pixels=known.max_pixels),
        unit_size=known.unit_size,
        batch_size=known.batch_size,
        engine=None if known.engine == engines.AUTO else known.engine,
        engine_threads=known.engine_threads,
        precision=known.precision,
        threads=known.threads,
        max_failures=MaxFailures.parse(known.max_failures),
        expect_at_least=known.expect_at_least,
        on_finish=Webhook(known.on_finish) if known.on_finish else None,
    )


def _submit_options(known: argparse.Namespace) -> SubmitOptions:
    from runners.dataflow.options import SubmitOptions

    return SubmitOptions(
        project=known.project,
        region=known.region,
        bucket=known.bucket,
        job_name=known.job_name,
        service_account=known.service_account,
        network=known.network,
        subnetwork=known.subnetwork,
        public_ips=not known.no_public_ips,
        labels=tuple(known.label),
        container_image=known.container_image,
        gpu=known.gpu,
        machine_type=known.machine_type,
        workers=known.workers,
        max_workers=known.max_workers,
        disk_gb=known.disk_gb,
        wait=known.wait,
    )


def _report(known: argparse.Namespace) -> int:
    from beamsight.reports import make

    print(make.make(make.ReportOptions(known.output, known.date, known.run, known.to)))
    return DONE


def _say(message: str, code: int) -> int:
    print(f"beamsight: {message}", file=sys.stderr)
    return code


def entry() -> NoReturn:
    """The command itself. One that was told to end waits for no thread, such as one that still fetches an image."""
    code = main()
    if code in (INTERRUPTED, TERMINATED):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


if __name__ == "__main__":
    entry()
