"""Resolve the options of a job to what the graph is built from. Nothing runs yet."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path

from apache_beam.options.pipeline_options import PipelineOptions

from beamsight.models import choose
from beamsight.models.downloads import Report, ignore
from beamsight.reports import run_report
from beamsight.text import count
from pipelines.options import CatalogOptions
from runners.jobs import beam_options
from runners.jobs.options import NO_MODEL, RunOptions
from transforms import run_state
from transforms.errors import FetchError, UsageError
from transforms.history.known import Retries
from transforms.imaging.prepare import Limits
from transforms.inference.recipe import Recipe
from transforms.inference.spec import Task
from transforms.listing import sources
from transforms.process import Settings
from transforms.shards.container import ShardOptions
from transforms.storage import files, local, web
from transforms.tables import layout


def resolve(
    options: RunOptions, beam: PipelineOptions, *, gpu: bool, report: Report = ignore
) -> tuple[CatalogOptions, run_report.Run]:
    """Find or stage the bundles, and fix the day and the id of the run.

    Args:
        options: What the job does.
        beam: Beam's options.
        gpu: Whether the workers have a GPU.
        report: Receives the steps of staging a model, which takes minutes.

    Returns:
        The options of the graph, and the run.
    """
    started = datetime.now(timezone.utc)
    run_id = run_state.make_run_id(started)
    output = output_of(options)
    recipes = tuple(
        make_recipe(options, choose.find_bundle(model, task, report), task, gpu)
        for model, task in options.models
        if model != NO_MODEL
    )
    settings = Settings(
        output=output,
        day=f"{started:%Y-%m-%d}",
        run_id=run_id,
        version=metadata.version("beamsight"),
        limits=Limits(
            max_bytes=options.max_bytes,
            max_pixels=options.max_pixels,
            fetch_timeout=options.fetch_timeout,
            access=options.access,
        ),
        batch=options.batch_size,
        engine_threads=options.engine_threads,
        threads=options.threads,
        shards=ShardOptions(options.image_column, options.image_feature, options.max_bytes),
    )
    job = CatalogOptions(
        images=options.images,
        recipes=recipes,
        settings=settings,
        uri_column=options.uri_column,
        retries=Retries(options.max_attempts, options.retry_failed),
        check_versions=options.check_versions,
        unit_size=options.unit_size,
        workers=beam_options.workers(beam),
        limit=options.limit,
        days=options.night.by_source if options.night else {},
    )
    models = {recipe.table: recipe.metadata() for recipe in recipes}
    return job, run_report.Run(run_id, output, started, options.to_json(), models)


def require_images(options: RunOptions) -> None:
    """Raise UsageError for a source without images. A night may have none."""
    if options.night is not None:
        return
    try:
        own_files = layout.own_files(output_of(options))
        sources.check(options.images, options.uri_column, own_files, options.image_column)
    except UsageError as error:
        if "{date" not in str(error) and "{yesterday" not in str(error):
            raise
        raise UsageError(f"{error}; only `beamsight nightly` fills in {{date}} and {{yesterday}}") from error


def require_output(options: RunOptions) -> None:
    """Raise UsageError for an output that is no folder. Asks the storage whether there is a file of that name."""
    check_output(options)
    if reason := explain_output(options):
        raise UsageError(reason)


def check_output(options: RunOptions) -> None:
    """Raise UsageError for an output that can be no folder whatever the storage has. Sends no request."""
    files.check(options.output)
    if files.is_web(options.output):
        web.refuse_output(f"--output {options.output}")


def explain_output(options: RunOptions) -> str | None:
    """Return why the output cannot be a folder of tables. None if it can, or if the storage does not answer."""
    uri = output_of(options).rstrip("/")
    try:
        kind = _kind_on_disk(local.path_of(uri)) if files.is_local(uri) else _kind_of_object(uri)
    except (OSError, ValueError, FetchError):  # The first write has the same error, with its own message.
        return None
    return kind and f"--output {options.output} is {kind}, and not a folder; name a folder, which need not exist yet"


def _kind_on_disk(path: str) -> str | None:
    mode = Path(path or "/").stat().st_mode
    return None if stat.S_ISDIR(mode) else "a file" if stat.S_ISREG(mode) else "a fifo, a socket, or a device"


def _kind_of_object(uri: str) -> str:
    return f"a file of {count(files.stat(uri).size, 'byte')}"


def output_of(options: RunOptions) -> str:
    """Return the folder of the tables, as an absolute path or URI."""
    return files.absolute(options.output)


def make_recipe(options: RunOptions, uri: str, task: Task, gpu: bool) -> Recipe:
    """Return the recipe of the table that the bundle at ``uri`` makes."""
    recipe = choose.make_recipe(
        uri,
        task,
        engine=options.wanted_engine,
        precision=options.precision,
        resizer=None if options.resizer == "auto" else options.resizer,
        gpu=gpu,
        top_k=options.top_k,
        probabilities=options.probabilities,
        normalize=options.normalize,
    )
    choose.verify_here(recipe)
    return recipe


def require_visible(options: RunOptions, beam: PipelineOptions, *, models: bool = True) -> None:
    """Raises UsageError for a path on this disk when the workers are elsewhere. models: look at those too."""
    for reason in list_invisible(options, beam, models=models):
        raise UsageError(reason)


def list_invisible(options: RunOptions, beam: PipelineOptions, *, models: bool = True) -> Iterator[str]:
    """Yield a message for each path on this disk that the workers cannot see. models: look at those too."""
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
        yield f"{option} {value} is on this machine, where the workers of the runner cannot see it; {remedy}"
