"""``beamsight run --dry-run``: what a run would do on this machine, and how long it would take."""

from __future__ import annotations

import dataclasses
import os
import tempfile

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from beamsight.models import facts, registry, staging
from beamsight.reports import recipes, runs
from beamsight.text import columns, count, duration
from pipelines import catalog
from pipelines.options import CatalogOptions
from runners.jobs import resolve
from runners.jobs.options import NO_MODEL, RunOptions
from transforms import counts, run_state
from transforms.counts import Tally
from transforms.errors import BeamsightError
from transforms.inference import engines
from transforms.inference.spec import Task
from transforms.tables import layout, rebuild


def describe(options: RunOptions, beam_options: PipelineOptions) -> str:
    """Return what a run would do, as text. Lists the images and reads the tables, and writes nothing.

    Raises UsageError for what a run would refuse.
    """
    resolve.require_visible(options, beam_options)
    resolve.require_output(options)
    resolve.require_images(options)
    here = dataclasses.replace(
        options,
        classifier=_if_here(options.classifier, "classify"),
        embedder=_if_here(options.embedder, "embed"),
    )
    asked, present = ({each.classifier, each.embedder} - {NO_MODEL} for each in (options, here))
    rows = [("output", options.output)]
    rows += [
        ("model", f"{model} is not on this machine; the first run downloads it, and its table is not counted here")
        for model in sorted(asked - present)
    ]
    if asked and not present:
        return f"{columns(rows)}\n\nnothing was processed or written"
    job, run = resolve.resolve(here, beam_options, gpu=engines.has_gpu())
    tally = count_missing(job)
    to_open = tally[counts.SHARDS] - tally[counts.SHARDS_DONE]
    missing = tally[counts.MISSING] if options.limit is None else min(options.limit, tally[counts.MISSING])
    rows += [
        *(("table", table) for table in job.tables),
        *(("new recipe", line) for line in recipes.explain_new(run.output, job.recipes)),
        ("listed", count(tally[counts.LISTED] - tally[counts.DUPLICATES], "image")),
        ("done before", count(tally[counts.DONE_BEFORE], "image")),
        ("failed before", count(tally[counts.FAILED_BEFORE], "image")),
        ("to process", count(missing, "image")),
        *([("to open", f"{count(to_open, 'shard')}, whose images are counted when it is read")] if to_open else []),
        ("estimated time", "not known, because of the shards" if to_open else _estimate(missing, run.output, job)),
    ]
    return f"{columns(rows)}\n\nnothing was processed or written"


def _if_here(model: str, task: Task) -> str:
    """Return the model, or ``none`` for a registered one that was never staged on this machine."""
    return NO_MODEL if registry.find(model, task) and not staging.cached_bundle(model, task).exists() else model


def count_missing(job: CatalogOptions) -> Tally:
    """Run the first steps of the job, which count the missing images.

    A run first completes the key indexes of the output. Here they are completed in a temporary folder.
    """
    with tempfile.TemporaryDirectory(prefix="beamsight-") as scratch:
        places = rebuild.complete(job.settings.output, layout.with_logs(job.tables), scratch)
        pipeline = beam.Pipeline(runner=FnApiRunner())
        catalog.count(pipeline, dataclasses.replace(job, index_places=places))
        pipeline.run().wait_until_finish()
    return run_state.of(job.settings.run_id).finished.snapshot()


def _estimate(missing: int, output: str, job: CatalogOptions) -> str:
    """Return the time for so many images: by the newest run with the same tables, or else by the models' operations."""
    if not missing:
        return "none"
    try:
        recent = runs.select(output).recent
    except BeamsightError:
        recent = ()
    rates = [run.images / run.seconds for run in recent if run.done and run.images and set(run.models) == {*job.tables}]
    if rates:
        return f"{duration(missing / rates[-1])} at {rates[-1]:.2f} images/s, the speed of the last such run"
    cores = job.settings.engine_threads or os.cpu_count() or 1
    work = [(facts.gflop(each.spec.name), facts.GFLOPS.get((each.engine, each.precision))) for each in job.recipes]
    seconds = sum(gflop / speed for gflop, speed in work if gflop and speed) / cores
    if not all(gflop and speed for gflop, speed in work):
        return "not known before the first run with these models"
    return f"{duration(missing * seconds)} at {1 / seconds:.2f} images/s, estimated for {count(cores, 'core')}"
