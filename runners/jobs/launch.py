"""``beamsight run``: settle what can be settled here, run the job, say what became of it."""

from __future__ import annotations

import dataclasses
import secrets
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any, TextIO

from apache_beam.options.pipeline_options import GoogleCloudOptions, PipelineOptions

from beamsight.models import registry, staging
from beamsight.reports import run_report
from beamsight.reports.criteria import MaxFailures
from pipelines.catalog import CatalogOptions
from runners.dataflow import job_state
from runners.jobs import beam_options, local, portable
from runners.jobs.ending import RunFailed, stopped
from runners.jobs.webhook import Webhook
from runners.lock import cleanup, lock
from runners.lock.lock import Lock
from runners.nights.day_patterns import Night
from transforms import counts
from transforms.errors import UsageError
from transforms.history import subtract, units
from transforms.imaging import prepare
from transforms.imaging.prepare import Limits
from transforms.inference import bundle, engines
from transforms.inference.recipe import Recipe
from transforms.inference.spec import EngineName, Precision, Task
from transforms.listing import manifests, sources
from transforms.process import Settings
from transforms.storage import files

NO_MODEL = "none"

_HURRY = 3.0  # seconds for --on-finish when somebody waits for the command to end


@dataclass(frozen=True, slots=True)
class RunOptions:
    """``beamsight run`` as it was asked for. classifier, embedder: a registered name, a bundle, or ``none``.

    night: of ``beamsight nightly``, the days that ``images`` are of.
    """

    images: tuple[str, ...]
    output: str
    classifier: str = "efficientnet-b7"
    embedder: str = "efficientnet-b6"
    uri_column: str = manifests.URI_COLUMN
    retry_failed: bool = False
    max_attempts: int = subtract.MAX_ATTEMPTS
    check_versions: bool = False
    top_k: int = 5
    probabilities: bool = False
    normalize: bool = False
    limits: Limits = dataclasses.field(default_factory=Limits)
    unit_size: int = units.UNIT_SIZE
    batch_size: int | None = None
    engine: EngineName | None = None
    engine_threads: int | None = None
    precision: Precision = "f32"
    threads: int = prepare.THREADS
    max_failures: MaxFailures = dataclasses.field(default_factory=lambda: MaxFailures(share=0.1))
    night: Night | None = None
    expect_at_least: int | None = None
    on_finish: Webhook | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values, for the run report."""
        values = dataclasses.asdict(self)
        values["on_finish"] = self.on_finish and str(self.on_finish)
        return values | values.pop("limits") | {"images": list(self.images), "max_failures": str(self.max_failures)}


def run(options: RunOptions, beam_arguments: Iterable[str], stream: TextIO, held: Lock | None = None) -> dict[str, Any]:
    """Run a job to its end -> its report. Progress goes to ``stream``.

    held: the lock of the output, where the caller has it for several runs. Raises UsageError or Locked before anything
    is started, and RunFailed when the job stopped before its end.
    """
    arguments = list(beam_arguments)
    beam = beam_options.parse(arguments)
    require_visible(options, beam)
    files.check(options.output)
    require_images(options)
    job, run_ = settle(options, beam, gpu=Path("/dev/nvidia0").exists())
    if held is not None:
        held.name(run_.run_id)
        ended, error = _run(job, run_, beam, held, stream)
    else:
        command, ask = "beamsight nightly" if options.night else "beamsight run", still_runs(beam)
        with lock.hold(run_.output, command, stream, run_id=run_.run_id, still_runs=ask) as mine:
            ended, error = _run(job, run_, beam, mine, stream)
    if options.on_finish is not None:
        hurried = {"seconds": _HURRY, "timeout": _HURRY} if isinstance(error, KeyboardInterrupt) else {}
        options.on_finish.post(ended, stream, **hurried)
    if error is not None:
        raise error
    return ended


def still_runs(beam: PipelineOptions) -> lock.StillRuns:
    """How to ask whether a job still runs that has the lock."""
    return partial(job_state.still_runs, endpoint=beam.view_as(GoogleCloudOptions).dataflow_endpoint)


def _run(
    job: CatalogOptions, run_: run_report.Run, beam: PipelineOptions, held: Lock, stream: TextIO
) -> tuple[dict[str, Any], BaseException | None]:
    """With the lock held -> the report, and what is to be raised where the job stopped before its end."""
    cleanup.close_killed(run_.output, run_.run_id)
    run_report.write(
        Counter(), run_, "running"
    )  # an output that cannot be written to is found out now, not after a unit
    counts.KEPT.reset()
    try:
        start = local.run if local.is_local(beam) else portable.run
        start(job, beam, partial(run_report.write, run=run_), stream)
        done = run_report.read(run_)
        if done["state"] != "done":
            raise RunFailed(
                f"--output {run_.output} is another folder for the workers: they have not written {run_.uri} here; "
                "name one that all can reach, on gs:// or a shared disk"
            )
    except (Exception, KeyboardInterrupt) as error:
        return stopped(error, run_, held, stream)
    cleanup.clean(run_.output, held.since, stream)
    return done, None


def settle(options: RunOptions, beam: PipelineOptions, *, gpu: bool) -> tuple[CatalogOptions, run_report.Run]:
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
        limits=options.limits,
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
    engine = engines.choose(options.engine, options.precision, made, gpu=gpu)
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
