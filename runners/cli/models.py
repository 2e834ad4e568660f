"""``beamsight models``: list, show, stage, compare, and quantize models."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from beamsight.models.options import CompareOptions, QuantizeOptions, ShowOptions, StageOptions, StandinOptions
from runners.cli.parser import Command, Outcome, Parsed

if TYPE_CHECKING:
    from transforms.inference.bundle import Bundle


def _list(_: Parsed) -> Outcome:
    from beamsight.models import describe

    return Outcome(describe.list_models())


def _show(parsed: Parsed) -> Outcome:
    from beamsight.models import describe

    return Outcome(describe.show(parsed.option(ShowOptions).name))


def _stage(parsed: Parsed) -> Outcome:
    from beamsight.models import make_bundle
    from runners.jobs import progress

    asked = parsed.option(StageOptions)
    with progress.steps(sys.stderr) as report:
        return _staged(make_bundle.stage(asked, report), asked.to)


def _standin(parsed: Parsed) -> Outcome:
    from beamsight.models import make_bundle
    from runners.jobs import progress

    asked = parsed.option(StandinOptions)
    with progress.steps(sys.stderr) as report:
        return _staged(make_bundle.standin(asked.name, asked.task, asked.to, asked.seed, report), asked.to)


def _staged(bundle: Bundle, to: str) -> Outcome:
    spec = bundle.spec
    text = f"{spec.name}, {spec.width} {spec.output}, is staged at {to}\ncontent hash {bundle.content_hash}"
    return Outcome(text, lasts=True)


def _compare(parsed: Parsed) -> Outcome:
    from beamsight.models import compare

    return Outcome(compare.compare(parsed.option(CompareOptions)))


def _quantize(parsed: Parsed) -> Outcome:
    from beamsight.models import compare

    return Outcome(compare.quantize(parsed.option(QuantizeOptions)), lasts=True)


COMMANDS = (
    Command("models list", "list the registered models", _list),
    Command("models show", "show all that is known of a model or a bundle", _show, (ShowOptions,)),
    Command(
        "models stage",
        "make a bundle of a model",
        _stage,
        (StageOptions,),
        description="Fetch a model, run it on drawn images, and make a bundle of it. A model that does not do what its "
        "specification says is refused. Loading a SavedModel runs the code in its graph: stage only what you trust.",
        examples={
            "a registered model": "beamsight models stage efficientnet-b7 --task classify --to models/b7",
            "a downloaded archive": "beamsight models stage b7.tgz --name efficientnet-b7 --task classify --to b7",
            "an OpenVINO IR": "beamsight models stage auto_aug.xml --name efficientnet-b7_auto_aug --to models/aa",
        },
    ),
    Command(
        "models standin",
        "make a bundle with the right architecture and meaningless weights",
        _standin,
        (StandinOptions,),
    ),
    Command("models compare", "compare another precision with f32, on your images", _compare, (CompareOptions,)),
    Command(
        "models quantize",
        "add an int8 form to a bundle, calibrated on your images",
        _quantize,
        (QuantizeOptions,),
        description="Make the int8 form of a bundle, calibrated on your images. A form that disagrees with f32 is "
        "refused.",
    ),
)
