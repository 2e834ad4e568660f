"""The words of ``beamsight run`` and ``beamsight submit``: what a job is, the same for both, and where it runs."""

from __future__ import annotations

import argparse
from typing import get_args

from runners.dataflow import machine
from transforms import defaults
from transforms.inference import engines
from transforms.inference.spec import EngineName, Precision
from transforms.listing import manifests

EXIT_CODES = (
    "Exit codes: 0 done; 1 done, but too many images failed; 2 wrong use; 3 run failed; 4 another run works on the "
    "output; 5 done, but fewer images than expected; 130 interrupted (Ctrl-C); 143 terminated (SIGTERM)."
)


def add_run(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """``run``, which leaves what it does not know to Beam."""
    run = commands.add_parser(
        "run",
        help="do the images that the tables lack",
        description="Do the images that the tables lack. Options that are not listed go to Beam, such as --runner.",
        epilog=EXIT_CODES,
        allow_abbrev=False,
    )
    add_job(run)


def add_submit(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """``submit``: what ``run`` takes, and the machines of Dataflow."""
    submit = commands.add_parser(
        "submit",
        help="the same as run, on Google Cloud Dataflow",
        description="Do the images that the tables lack on Google Cloud Dataflow. Options that are not listed go to "
        "Beam, and go before what is chosen here.",
        epilog=f"Without --wait, 0 says that the job was accepted. {EXIT_CODES}",
        allow_abbrev=False,
    )
    add_job(submit)
    add_cloud(submit)


def add_cloud(parser: argparse.ArgumentParser) -> None:
    """Where a job runs, on which machines, and what they cost."""
    where = parser.add_argument_group("where it runs").add_argument
    where("--project", metavar="ID", help="the Google Cloud project that runs and pays it")
    where("--region", metavar="NAME", help="such as europe-west4; best that of the images' bucket")
    where(
        "--bucket",
        metavar="gs://BUCKET",
        help="for models, staged code and temporary files, in its folder beamsight (default: that of --output)",
    )
    where("--job-name", metavar="NAME", help="as the console shows it (default: beamsight and the time)")
    where("--service-account", metavar="EMAIL", help="that the workers run as (default: Compute Engine's)")
    where("--network", metavar="NAME", help="of the workers (default: the project's default network)")
    where("--subnetwork", metavar="NAME", help="of the workers, such as regions/REGION/subnetworks/NAME")
    where(
        "--no-public-ips",
        action="store_true",
        help="workers without addresses on the internet; the subnetwork needs Private Google Access",
    )
    where("--label", action="append", default=[], metavar="KEY=VALUE", help="of the job, for bills; may be repeated")

    machines = parser.add_argument_group("machines").add_argument
    machines(
        "--container-image",
        metavar="IMAGE",
        help="what workers run, so that they install nothing; without a tag, :VERSION-cpu or :VERSION-gpu is added",
    )
    machines(
        "--gpu",
        metavar="TYPE",
        choices=machine.GPUS,
        help=f"a GPU for each machine: {', '.join(machine.GPUS)}; the TensorFlow engine is taken then",
    )
    machines("--machine-type", metavar="TYPE", help="of a worker (default: c3-standard-8, or what suits the GPU)")
    machines("--workers", type=count, metavar="N", help="machines to start with (default: as Dataflow finds right)")
    machines(
        "--max-workers",
        type=count,
        default=machine.MAX_WORKERS,
        metavar="N",
        help="machines at most (default: %(default)s)",
    )
    machines("--disk-gb", type=count, metavar="GB", help="disk of a machine (default: 50, with a GPU 100)")

    ways = parser.add_argument_group("what is done").add_argument
    ways("--wait", action="store_true", help="show the job's counters until it ends, and exit as `run` does")
    ways(
        "--dry-run",
        action="store_true",
        help="say what would be sent, and estimate hours and price; send nothing, and need no cloud",
    )
    ways("--count", type=count, metavar="N", help="estimate for so many images (default: those that --images names)")
    ways("--images-per-second", type=positive, metavar="X", help="of one machine, as measured, for the estimate")
    ways("--machine-price", type=positive, metavar="USD", help="of one machine an hour, all in, for the estimate")


def add_job(parser: argparse.ArgumentParser) -> None:
    """What is done, and how: all of ``RunOptions``."""
    add = parser.add_argument
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
        default=defaults.URI_COLUMN,
        metavar="NAME",
        help="column of the manifests that holds the URIs (default: %(default)s)",
    )
    add("--retry-failed", action="store_true", help="try images again that failed for good in earlier runs")
    add(
        "--max-attempts",
        type=count,
        default=defaults.MAX_ATTEMPTS,
        metavar="N",
        help="after so many runs a passing fault of an image counts as lasting (default: %(default)s)",
    )
    add(
        "--check-versions",
        action="store_true",
        help="look up whether images that a manifest names have changed since they were done",
    )
    add(
        "--precision",
        choices=get_args(Precision),
        default="f32",
        help="of the models: bf16 is fast where the processor has it, int8 needs bundles with it (default: f32)",
    )
    add(
        "--engine",
        choices=(engines.AUTO, *get_args(EngineName)),
        default=engines.AUTO,
        help="what runs the models (default: openvino on CPUs, tensorflow on GPUs)",
    )
    add("--engine-threads", type=count, metavar="N", help="cores for the models (default: all of the machine)")
    add("--top-k", type=int, default=5, metavar="K", help="classes an image (default: %(default)s)")
    add("--probabilities", action="store_true", help="write the probabilities of all classes too")
    add("--normalize", action="store_true", help="write vectors of length 1")
    add(
        "--max-pixels",
        type=count,
        default=defaults.MAX_PIXELS,
        metavar="N",
        help="refuse larger pictures (default: %(default)s)",
    )
    add(
        "--max-bytes",
        type=count,
        default=defaults.MAX_BYTES,
        metavar="N",
        help="refuse larger files (default: %(default)s)",
    )
    add(
        "--max-failures",
        default="10%",
        metavar="N|P%%",
        help="exit with 1 if more of the images fail (default: 10%%)",
    )
    add("--expect-at-least", type=count, metavar="N", help="exit with 5 if fewer different images are listed")
    add(
        "--on-finish",
        metavar="URL",
        help="post the run's report there as JSON, however the run ended; that never fails the run",
    )
    add(
        "--unit-size",
        type=count,
        default=defaults.UNIT_SIZE,
        metavar="N",
        help="images a file of a table, and what is lost at most with a worker (default: %(default)s)",
    )
    add(
        "--batch-size",
        type=count,
        metavar="N",
        help="images that go through a model at once (default: what suits the engine)",
    )
    add(
        "--threads",
        type=count,
        default=defaults.THREADS,
        metavar="N",
        help="images that are fetched at once (default: %(default)s)",
    )


def count(text: str) -> int:
    """``1_000`` or ``1,000`` -> 1000, at least 1."""
    value = int(text.replace("_", "").replace(",", ""))
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return value


def positive(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is no number above 0")
    return value
