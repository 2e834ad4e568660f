"""Choose the bundle for the name of a model, and make the recipe of its table."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from beamsight.models import registry, staging
from beamsight.models.downloads import Report, ignore
from beamsight.text import nearest
from transforms.errors import UsageError
from transforms.imaging import resizing
from transforms.inference import bundle, engines
from transforms.inference.recipe import Recipe
from transforms.inference.spec import EngineName, Precision, Resizer, Task
from transforms.storage import files

ROLES = {"classify": "classifier", "embed": "embedder"}


def find_bundle(model: str, task: Task, report: Report = ignore) -> str:
    """Return the URI of the bundle for a registered name or a folder.

    A registered model that was never used on this machine is staged first, with its steps to ``report``.
    """
    if registry.find(model, task):
        return staging.stage_registered(model, task, report=report)
    if "/" not in model and not Path(model).exists():
        names = registry.names(task)
        raise UsageError(
            f"{model!r} is neither a bundle nor a registered model to {task} with{nearest(model, names)}; the "
            f"registered models are {', '.join(names)}"
        )
    return files.absolute(model)


def make_recipe(
    uri: str,
    task: Task | None,
    *,
    engine: EngineName | None = None,
    precision: Precision = "f32",
    resizer: Resizer | None = None,
    gpu: bool = False,
    top_k: int = 5,
    probabilities: bool = False,
    normalize: bool = False,
) -> Recipe:
    """Return the recipe of the table that the bundle at ``uri`` makes. The arguments are those of ``Recipe``.

    Args:
        uri: The bundle.
        task: The task that the model must have. None for any.
        engine: The engine. None for the one that suits the workers.
        precision: Numeric precision of the model.
        resizer: The code that resizes the images. None for the fastest that is installed here.
        gpu: Whether the workers have a GPU.
        top_k: Number of best classes in a row of a classifier.
        probabilities: Write all probabilities of a classifier.
        normalize: Scale the vectors of an embedder to unit length.

    Raises:
        UsageError: The model has another task.
        ModelError: The folder is not a bundle, or does not have the form that the engine needs.
    """
    found = bundle.read(uri)
    if task is not None and found.spec.task != task:
        raise UsageError(
            f"{uri} is a model to {found.spec.task} with, but the {ROLES[task]} needs one to {task} with; swap the "
            "classifier and the embedder"
        )
    return Recipe(
        spec=replace(found.spec, resizer=resizer or resizing.best()),
        bundle=uri,
        content_hash=found.content_hash,
        source=found.source,
        engine=engines.choose(engine, precision, found, gpu=gpu),
        precision=precision,
        quantized=found.quantized_hash() if precision == "int8" else None,
        top_k=top_k,
        probabilities=probabilities,
        normalize=normalize,
    )


def verify_here(recipe: Recipe) -> None:
    """Verify the files of a bundle on this disk. A bundle on gs:// is verified when it is copied.

    Raises:
        ModelError: A file is missing or damaged, or the bundle changed since the recipe was made.
    """
    if files.is_local(recipe.bundle):
        folder = bundle.localize(recipe.bundle, recipe.content_hash)
        bundle.verify(folder, bundle.read(recipe.bundle).only(engines.form(recipe.engine)))
