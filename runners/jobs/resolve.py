"""What was asked of a job -> what the graph is built from. Nothing runs yet."""

from __future__ import annotations

import secrets
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path

from apache_beam.options.pipeline_options import PipelineOptions

from beamsight.models import registry, staging
from beamsight.reports import run_report
from pipelines.catalog import CatalogOptions
from runners.jobs import beam_options
from runners.jobs.options import NO_MODEL, RunOptions
from transforms.errors import UsageError
from transforms.history import subtract
from transforms.imaging.prepare import Limits
from transforms.inference import bundle, engines
from transforms.inference.recipe import Recipe
from transforms.inference.spec import Task
from transforms.listing import sources
from transforms.process import Settings
from transforms.storage import files


def resolve(options: RunOptions, beam: PipelineOptions, *, gpu: bool) -> tuple[CatalogOptions, run_report.Run]:
    """What was asked -> what the graph is built from: bundles found or staged, the day and the run's id fixed.

    gpu: whether the workers have one.
    """
    started = datetime.now(timezone.utc)
    run_id = f"{started:%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"
    output = output_of(options)
    asked = (_recipe(options, "classify", gpu), _recipe(options, "embed", gpu))
    recipes = tuple(recipe for recipe in asked if recipe)
    settings = Settings(
        output=output,
        day=f"{started:%Y-%m-%d}",
        run_id=run_id,
        version=metadata.version("beamsight"),
        limits=Limits(max_bytes=options.max_bytes, max_pixels=options.max_pixels),
        batch=options.batch_size,
        engine_threads=options.engine_threads,
        threads=options.threads,
    )
    job = CatalogOptions(
        images=options.images,
        recipes=recipes,
        settings=settings,
        uri_column=options.uri_column,
        retries=subtract.Retries(options.max_attempts, options.retry_failed),
        check_versions=options.check_versions,
        unit_size=options.unit_size,
        workers=beam_options.workers(beam),
        limit=options.limit,
    )
    models = {recipe.table: recipe.metadata() for recipe in recipes}
    return job, run_report.Run(run_id, output, started, options.to_json(), models)


def require_images(options: RunOptions) -> None:
    """Raises UsageError for a source without images. A night may have none."""
    if options.night is None:
        sources.check(options.images, options.uri_column)


def output_of(options: RunOptions) -> str:
    """Where the tables are, whatever folder the command was given in."""
    return files.absolute(options.output)


def _recipe(options: RunOptions, task: Task, gpu: bool) -> Recipe | None:
    """A registered name or a bundle -> the table to make with it; None for ``none``."""
    model = options.classifier if task == "classify" else options.embedder
    if model == NO_MODEL:
        return None
    uri = find_bundle(model, task)
    made = bundle.read(uri)
    if made.spec.task != task:
        raise UsageError(f"{model} is a model to {made.spec.task} with, and is needed to {task}; swap the options?")
    engine = engines.choose(options.wanted_engine, options.precision, made, gpu=gpu)
    if files.is_local(uri):  # one on gs:// is checked by the workers, as they copy it
        bundle.verify(bundle.localize(uri, made.content_hash), made.only(engines.form(engine)))
    return Recipe(
        spec=made.spec,
        bundle=uri,
        content_hash=made.content_hash,
        source=made.source,
        engine=engine,
        precision=options.precision,
        quantized=made.quantized_hash() if options.precision == "int8" else None,
        top_k=options.top_k,
        probabilities=options.probabilities,
        normalize=options.normalize,
    )


def find_bundle(model: str, task: Task) -> str:
    """A registered name, staged now if it never was on this machine, or a bundle's folder -> the bundle's URI."""
    if registry.find(model, task):
        return staging.stage_registered(model, task)
    if "/" not in model and not Path(model).exists():
        raise UsageError(
            f"{model!r} is neither a bundle nor the name of a model to {task} with; there are "
            f"{', '.join(registry.names(task))}"
        )
    return files.absolute(model)


def require_visible(options: RunOptions, beam: PipelineOptions, *, models: bool = True) -> None:
    """Raises UsageError for a path on this disk when the workers are elsewhere. models: look at those too."""
    if beam_options.sees_this_disk(beam):
        return
    named = [*(("--images", image) for image in options.images), ("--output", options.output)]
    if models:
        named += [("--classifier", options.classifier), ("--embedder", options.embedder)]
    for option, value in named:
        if value == NO_MODEL or not files.is_local(value):
            continue
        remedy = (
            "stage a bundle with `beamsight models stage ... --to gs://...` and name that"
            if option in ("--classifier", "--embedder")
            else "copy it to a bucket and name that"
            if option == "--images"
            else "name a folder in a bucket"
        )
        raise UsageError(
            f"{option} {value} is on this machine, where the workers of the runner cannot see it; {remedy}"
        )
