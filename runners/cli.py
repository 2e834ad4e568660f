"""The command line: arguments in, frozen options out, an exit code back. The rest never sees a Namespace.

Exit codes: 0 done; 1 done, but more images failed than ``--max-failures`` allows; 2 wrong use; 3 the run itself failed;
130 interrupted.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence

from runners import arguments
from transforms.errors import EngineError, FetchError, UsageError
from transforms.inference import engines

DONE, TOO_MANY_FAILURES, WRONG_USE, RUN_FAILED, INTERRUPTED = 0, 1, 2, 3, 130


def main(words: Sequence[str] | None = None) -> int:
    """Run one command -> its exit code."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("apache_beam").setLevel(logging.CRITICAL)  # what stops a job is said once, at the end
    parser = arguments.parser()
    known, rest = parser.parse_known_args(words)
    try:
        if known.command == "run":
            return _run(known, rest)
        if rest:
            parser.error(f"unknown option {rest[0]}")
        return _report(known) if known.command == "report" else _models(known)
    except (UsageError, FetchError) as error:
        return _say(str(error), WRONG_USE)
    except EngineError as error:
        return _say(f"the model cannot be run: {error}", RUN_FAILED)
    except KeyboardInterrupt:
        return _say("interrupted; what was finished is kept, and the same command goes on from there", INTERRUPTED)


def _run(known: argparse.Namespace, rest: list[str]) -> int:
    from runners import launch, report
    from runners.limits import MaxFailures
    from transforms.imaging.prepare import Limits

    options = launch.RunOptions(
        images=tuple(known.images),
        output=known.output,
        classifier=known.classifier,
        embedder=known.embedder,
        uri_column=known.uri_column,
        retry_failed=known.retry_failed,
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
    )
    try:
        done = launch.run(options, rest, sys.stderr)
    except launch.RunFailed as error:
        return _say(
            f"the run failed: {error}\nwhat it had finished is kept; the same command goes on from there",
            RUN_FAILED,
        )
    print(report.summary(done, launch.output_of(options)))
    failed, images = report.failed(done), done["counts"]["images"]
    if options.max_failures.allows(failed, images):
        return DONE
    return _say(
        f"{failed:,} of {images:,} images failed, more than --max-failures {options.max_failures} allows",
        TOO_MANY_FAILURES,
    )


def _report(known: argparse.Namespace) -> int:
    from runners.page import make

    print(make.make(make.ReportOptions(known.output, known.date, known.run, known.to)))
    return DONE


def _models(known: argparse.Namespace) -> int:
    from runners import models

    if known.action == "list":
        print(models.table())
    elif known.action == "show":
        print(models.show(known.name))
    elif known.action == "compare":
        print(_compare(known))
    elif known.action == "quantize":
        print(_quantize(known))
    else:
        if known.action == "stage":
            values = {key: value for key, value in vars(known).items() if key not in ("command", "action")}
            if values["value_range"] is not None:
                values["value_range"] = tuple(values["value_range"])
            made = models.stage(models.StageOptions(**values))
        else:
            made = models.standin(known.name, known.task, known.to, known.seed)
        print(f"{made.spec.name}, {made.spec.width} {made.spec.output}, is staged at {known.to}")
        print(f"content hash {made.content_hash}")
    return DONE


def _compare(known: argparse.Namespace) -> str:
    from runners import compare

    return compare.compare(
        compare.CompareOptions(
            bundle=known.bundle,
            images=tuple(known.images),
            precision=known.precision,
            engine=None if known.engine == engines.AUTO else known.engine,
            limit=known.limit,
            uri_column=known.uri_column,
        )
    )


def _quantize(known: argparse.Namespace) -> str:
    from runners import compare

    return compare.quantize(
        compare.QuantizeOptions(
            bundle=known.bundle,
            images=tuple(known.images),
            agreement=known.agreement,
            limit=known.limit,
            uri_column=known.uri_column,
        )
    )


def _say(message: str, code: int) -> int:
    print(f"beamsight: {message}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
