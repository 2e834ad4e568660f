"""The command line: arguments in, frozen options out, an exit code back. The rest never sees a Namespace.

Exit codes: 0 done; 1 done, but more images failed than ``--max-failures`` allows; 2 wrong use; 3 the run itself failed;
130 interrupted.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from importlib import metadata
from typing import get_args

from transforms import manifests, units
from transforms.errors import FetchError, UsageError
from transforms.imaging import decode, fetch, prepare
from transforms.inference import engine, origin
from transforms.inference.spec import ChannelOrder, Crop, Task

DONE, TOO_MANY_FAILURES, WRONG_USE, RUN_FAILED, INTERRUPTED = 0, 1, 2, 3, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command -> its exit code."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("apache_beam").setLevel(logging.CRITICAL)  # what stops a job is said once, at the end
    parser = _parser()
    known, rest = parser.parse_known_args(arguments)
    try:
        if known.command == "run":
            return _run(known, rest)
        if rest:
            parser.error(f"unknown option {rest[0]}")
        return _models(known)
    except (UsageError, FetchError) as error:
        return _say(str(error), WRONG_USE)
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


def _models(known: argparse.Namespace) -> int:
    from runners import models

    if known.action == "list":
        print(models.table())
    elif known.action == "show":
        print(models.show(known.name))
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


def _say(message: str, code: int) -> int:
    print(f"beamsight: {message}", file=sys.stderr)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "beamsight",
        description="Classify and embed images with EfficientNet on Apache Beam, into Parquet.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"beamsight {metadata.version('beamsight')}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_run(commands)
    _add_models(commands)
    return parser


def _add_run(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    run = commands.add_parser(
        "run",
        help="do the images that the tables lack",
        description="Do the images that the tables lack. Options that are not listed go to Beam, such as --runner.",
        epilog="Exit codes: 0 done; 1 done, but too many images failed; 2 wrong use; 3 run failed; 130 interrupted.",
        allow_abbrev=False,
    )
    add = run.add_argument
    add(
        "--images",
        action="append",
        required=True,
        metavar="WHAT",
        help="a file, a folder, a glob ('*' within a folder, '**' below it too), or a manifest "
        f"({', '.join(manifests.KINDS)}, also .gz); on a disk, gs:// or what Beam can read; may be repeated",
    )
    add("--output", required=True, metavar="FOLDER", help="where the tables are, or will be")
    add(
        "--classifier",
        default="efficientnet-b7",
        metavar="MODEL",
        help="a name of `beamsight models list`, a bundle's folder, or none (default: %(default)s)",
    )
    add("--embedder", default="efficientnet-b6", metavar="MODEL", help="likewise (default: %(default)s)")
    add(
        "--uri-column",
        default=manifests.URI_COLUMN,
        metavar="NAME",
        help="column of the manifests that holds the URIs (default: %(default)s)",
    )
    add("--retry-failed", action="store_true", help="try images again that failed for good in earlier runs")
    add(
        "--check-versions",
        action="store_true",
        help="look up whether images that a manifest names have changed since they were done",
    )
    add("--top-k", type=int, default=5, metavar="K", help="classes an image (default: %(default)s)")
    add("--probabilities", action="store_true", help="write the probabilities of all classes too")
    add("--normalize", action="store_true", help="write vectors of length 1")
    add(
        "--max-pixels",
        type=_count,
        default=decode.MAX_PIXELS,
        metavar="N",
        help="refuse larger pictures (default: %(default)s)",
    )
    add(
        "--max-bytes",
        type=_count,
        default=fetch.MAX_BYTES,
        metavar="N",
        help="refuse larger files (default: %(default)s)",
    )
    add(
        "--max-failures",
        default="10%",
        metavar="N|P%%",
        help="exit with 1 if more of the images fail (default: 10%%)",
    )
    add(
        "--unit-size",
        type=_count,
        default=units.UNIT_SIZE,
        metavar="N",
        help="images a file of a table, and what is lost at most with a worker (default: %(default)s)",
    )
    add(
        "--batch-size",
        type=_count,
        default=engine.BATCH,
        metavar="N",
        help="images that go through a model at once (default: %(default)s)",
    )
    add(
        "--threads",
        type=_count,
        default=prepare.THREADS,
        metavar="N",
        help="images that are fetched at once (default: %(default)s)",
    )


def _add_models(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    models = commands.add_parser("models", help="the models there are, and bundles of them", allow_abbrev=False)
    actions = models.add_subparsers(dest="action", required=True, metavar="ACTION")
    actions.add_parser("list", help="the models that are known by name")
    show = actions.add_parser("show", help="all that is known of a model or a bundle")
    show.add_argument("name", help="a registered name or a bundle's folder")

    stage = actions.add_parser(
        "stage", help="fetch a model, see that it works, and make a bundle of it", allow_abbrev=False
    )
    add = stage.add_argument
    add(
        "source",
        help="a registered name, a TF-Hub URL, a Kaggle handle, a SavedModel folder or a .tar.gz of one",
    )
    add("--to", required=True, metavar="FOLDER", help="the bundle's folder, on a disk or gs://")
    add("--name", help="what to call it; a registered name takes that model's spec (default: from the source)")
    add("--task", choices=get_args(Task), help="what it is for")
    add("--size", type=_count, metavar="PIXELS", help="side of its square input")
    add("--crop", choices=get_args(Crop), help="what of a picture it is shown (default: square)")
    add("--value-range", nargs=2, type=float, metavar=("LOW", "HIGH"), help="of its input (default: 0 1)")
    add("--channel-order", choices=get_args(ChannelOrder), help="of its input (default: rgb)")
    add("--labels", metavar="FILE", help="its classes, one a line (default: ImageNet's 1000)")
    add("--sha256", metavar="HASH", help="the content hash that it must have")
    add(
        "--timeout",
        type=float,
        default=origin.TIMEOUT,
        metavar="SECONDS",
        help="how long a server may stay silent (default: %(default)s)",
    )

    standin = actions.add_parser(
        "standin",
        help="a bundle with the right architecture and meaningless weights, to try things with",
        allow_abbrev=False,
    )
    standin.add_argument("name", help="a registered EfficientNet")
    standin.add_argument("--to", required=True, metavar="FOLDER", help="the bundle's folder")
    standin.add_argument("--task", choices=get_args(Task), help="what it is for")
    standin.add_argument("--seed", type=int, default=0, help="of its weights (default: %(default)s)")


def _count(text: str) -> int:
    value = int(text.replace("_", "").replace(",", ""))
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return value


if __name__ == "__main__":
    sys.exit(main())
