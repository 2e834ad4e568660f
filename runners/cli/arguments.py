"""The command line's words: what ``beamsight`` takes, and what it says of itself."""

from __future__ import annotations

import argparse
from importlib import metadata
from typing import get_args

from beamsight.models import origin
from runners.cli import arguments_nightly, arguments_run, arguments_schedule
from runners.cli.arguments_run import count
from transforms import defaults
from transforms.inference import engines
from transforms.inference.spec import ChannelOrder, Crop, EngineName, Layout, Precision, Task


def parser() -> argparse.ArgumentParser:
    """The parser of all commands. What it does not know of ``run`` is left over, for Beam."""
    made = argparse.ArgumentParser(
        "beamsight",
        description="Classify and embed images with EfficientNet on Apache Beam, into Parquet.",
        allow_abbrev=False,
    )
    made.add_argument("--version", action="version", version=f"beamsight {metadata.version('beamsight')}")
    commands = made.add_subparsers(dest="command", required=True, metavar="COMMAND")
    arguments_run.add_run(commands)
    arguments_run.add_submit(commands)
    arguments_nightly.add_nightly(commands)
    arguments_nightly.add_config(commands)
    arguments_schedule.add_schedule(commands)
    _add_report(commands)
    _add_models(commands)
    return made


def _add_report(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    report = commands.add_parser(
        "report",
        help="make a page of what a night did",
        description="Make one HTML file that shows what a night's runs did, and print where it is.",
        allow_abbrev=False,
    )
    report.add_argument("output", metavar="OUTPUT", help="the --output of `beamsight run`, on a disk or gs://")
    which = report.add_mutually_exclusive_group()
    which.add_argument(
        "--date", type=arguments_nightly.day, metavar="DAY", help="of the runs that started on 2026-11-20 (UTC), say"
    )
    which.add_argument("--run", metavar="RUN", help="of one run, by its id (default: the newest day with a run)")
    report.add_argument("--to", metavar="FILE", help="where it goes (default: OUTPUT/reports/<date or run>.html)")


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
    add("--size", type=count, metavar="PIXELS", help="side of its square input")
    add("--crop", choices=get_args(Crop), help="what of a picture it is shown (default: square)")
    add("--value-range", nargs=2, type=float, metavar=("LOW", "HIGH"), help="of its input (default: 0 1)")
    add("--channel-order", choices=get_args(ChannelOrder), help="of its input (default: rgb)")
    add("--layout", choices=get_args(Layout), help="of its input, for an IR (default: nhwc)")
    add("--labels", metavar="FILE", help="its classes, one a line (default: ImageNet's 1000)")
    add("--sha256", metavar="HASH", help="the content hash that it must have")
    add(
        "--timeout",
        type=float,
        default=origin.TIMEOUT,
        metavar="SECONDS",
        help="how long a server may stay silent (default: %(default)s)",
    )

    _add_precisions(actions)
    standin = actions.add_parser(
        "standin",
        help="a bundle with the right architecture and meaningless weights, to try things with",
        allow_abbrev=False,
    )
    standin.add_argument("name", help="a registered EfficientNet")
    standin.add_argument("--to", required=True, metavar="FOLDER", help="the bundle's folder")
    standin.add_argument("--task", choices=get_args(Task), help="what it is for")
    standin.add_argument("--seed", type=int, default=0, help="of its weights (default: %(default)s)")


def _add_precisions(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    compare = actions.add_parser(
        "compare", help="what another precision than f32 costs and brings, on your images", allow_abbrev=False
    )
    quantize = actions.add_parser(
        "quantize",
        help="make a bundle's int8 form, calibrated on your images, and refuse one that disagrees with f32",
        allow_abbrev=False,
    )
    for command, limit in ((compare, 200), (quantize, 300)):
        add = command.add_argument
        add("bundle", help="a bundle's folder, on a disk or gs://")
        add("--images", action="append", required=True, metavar="WHAT", help="as for `beamsight run`")
        add("--uri-column", default=defaults.URI_COLUMN, metavar="NAME", help="likewise (default: %(default)s)")
        add(
            "--limit",
            type=count,
            default=limit,
            metavar="N",
            help="take so many of the images, from all over them (default: %(default)s)",
        )
    add = compare.add_argument
    others = [form for form in get_args(Precision) if form != "f32"]
    add("--precision", choices=others, default="bf16", help="to compare with f32 (default: %(default)s)")
    add("--engine", choices=(engines.AUTO, *get_args(EngineName)), default=engines.AUTO, help="for both, likewise")
    quantize.add_argument(
        "--agreement",
        type=float,
        metavar="SHARE",
        help="what it must reach: of a classifier the share of images with the same best class (default: 0.97), of an "
        "embedder the mean cosine (default: 0.98)",
    )
