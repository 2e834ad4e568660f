"""A unit of images -> its files in the tables, as a stream: fetch, decode, fit; batches; models; write."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from functools import partial
from itertools import repeat

import apache_beam as beam
from apache_beam.utils.shared import Shared

from transforms import counts, defaults
from transforms.counts import Tally
from transforms.errors import InferenceError
from transforms.imaging import prepare
from transforms.imaging.prepare import Failed, Limits, Prepared
from transforms.inference import bundle, engines
from transforms.inference.concurrent import Answered, Model, SideBySide
from transforms.inference.engine import Floats
from transforms.inference.recipe import Recipe
from transforms.prefetch import prefetch
from transforms.records import Failure, Unit
from transforms.stop import STOP
from transforms.tables import layout, schemas, writer
from transforms.tables.rows import Answers


@dataclass(frozen=True, slots=True)
class Settings:
    """How units are done, and where their files go. ``day`` and ``run_id`` are the run's, the same on all workers."""

    output: str
    day: str
    run_id: str
    version: str
    limits: Limits = field(default_factory=Limits)
    batch: int | None = None  # the engine knows best
    engine_threads: int | None = None
    threads: int = defaults.THREADS
    window: int | None = None  # images ahead of the models; their pixels are 2 MB each for B7 and B6 together


class ProcessUnits(beam.DoFn):
    """Unit -> the counts of what became of it. Models are loaded once a worker process and shared by its threads."""

    def __init__(self, recipes: tuple[Recipe, ...], settings: Settings) -> None:
        self._recipes = recipes
        self._settings = settings
        self._shared = Shared()
        self._models: list[Model] = []

    def process(self, unit: Unit) -> Iterator[Tally]:
        # Not in setup, which runs also where there is nothing to do, and models take seconds and gigabytes.
        self._models = self._models or self._shared.acquire(self._load)
        yield process_unit(unit, self._models, self._settings)

    def _load(self) -> _Models:
        with ThreadPoolExecutor(len(self._recipes)) as pool:  # most of it is the work of one core
            return _Models(pool.map(_load, self._recipes, repeat(self._settings)))


class _Models(list[Model]):
    """A list to which a weak reference can be held, as ``Shared`` does."""


def _load(recipe: Recipe, settings: Settings) -> Model:
    form = engines.form(recipe.engine)
    folder = bundle.localize(recipe.bundle, recipe.content_hash, quantized=recipe.quantized, form=form)
    loaded = engines.load(
        recipe.engine, folder, recipe.spec, recipe.precision, batch=settings.batch, threads=settings.engine_threads
    )
    return Model(recipe, loaded, bundle.load_labels(folder, recipe.spec))


def process_unit(unit: Unit, models: list[Model], settings: Settings) -> Tally:
    """Do a unit and write its files: every image ends in each table that lacks it, or as one row of the failures.

    At most ``window`` images are fetched ahead, for each model a batch gathers, and few more calls wait than run, so
    that memory depends neither on how many images there are nor on how large the unit is.
    """
    STOP.check()
    asked = {table for work in unit.work for table in work.tables}
    models = [model for model in models if model.recipe.table in asked]
    results = _Results(models)
    specs = {model.recipe.table: model.recipe.spec for model in models}
    ready = partial(prepare.prepare, specs=specs, limits=settings.limits)
    # While the models work on a batch, the next one gets ready.
    in_work = max(model.engine.batch * model.engine.parallel for model in models)
    window = settings.window or max(settings.threads, 2 * in_work)
    with SideBySide(models, results.take) as inference:
        for image in prefetch(unit.work, ready, threads=settings.threads, window=window):
            STOP.check()  # what is in hand is dropped: the files of a unit are written at its end, or not at all
            results.spent(image.tally)
            if isinstance(image, Failed):
                results.failed(image.failure)
            else:
                inference.put(image)
            del image  # its pixels must not outlive their turn
        inference.finish()
    results.write(unit.name, settings)
    counts.KEPT.add(results.tally)
    return results.tally


class _Results:
    """What became of the images of a unit, until it is written."""

    def __init__(self, models: list[Model]) -> None:
        self.tally: Tally = Counter()
        self._answers = {model.recipe.table: Answers(model.recipe, model.labels) for model in models}
        self._failures: dict[str, Failure] = {}
        self._refused: dict[str, dict[str, Failure]] = {}  # by URI and table, until all models have had the image

    def spent(self, tally: Tally) -> None:
        self.tally.update(tally)
        counts.LIVE.add(tally)
        counts.publish(tally)  # now and not at the end of the unit: a console shows minutes of work as they pass

    def take(self, answered: Answered) -> None:
        """What a model answered, or refused to."""
        recipe = answered.model.recipe
        spent, batched = counts.key(counts.NANOSECONDS, recipe.spec.task), counts.key(counts.BATCHED, recipe.spec.task)
        self.spent(Counter({spent: answered.nanoseconds, batched: len(answered.images)}))
        for image, output in zip(answered.images, answered.outputs, strict=True):
            uri = image.work.ref.uri
            if isinstance(output, InferenceError):
                output.version = image.version
                refused = Failure.of(image.work._replace(tables=(recipe.table,)), output)
                self._refused.setdefault(uri, {})[recipe.table] = refused
            else:
                self.answered(recipe.table, image, output)
            image.unanswered -= 1
            if not image.unanswered:
                if uri in self._refused:
                    self.failed(self._by_all(self._refused.pop(uri)))
                self.spent(Counter({counts.IMAGES: 1}))

    def _by_all(self, refused: dict[str, Failure]) -> Failure:
        """One row an image: where both models refuse it, the first table's reason stands, whoever was quicker."""
        tables = tuple(table for table in self._answers if table in refused)
        passing = any(failure.retryable for failure in refused.values())
        return replace(refused[tables[0]], tables=tables, retryable=passing)

    def failed(self, failure: Failure) -> None:
        """A row of the failures."""
        self._failures[failure.uri] = failure
        reason = counts.key(failure.stage, failure.error)
        self.spent(Counter({counts.key(counts.FAILED, failure.stage): 1, counts.key(counts.REASON, reason): 1}))
        if failure.retryable:
            self.spent(Counter({counts.TRANSIENT: 1}))

    def answered(self, table: str, image: Prepared, output: Floats) -> None:
        self._answers[table].add(image, output)
        self.spent(Counter({counts.key(counts.OK, table): 1}))

    def write(self, unit: str, settings: Settings) -> None:
        """The tables first and the failures last: of a unit cut short between them, what failed is tried again."""
        since = time.perf_counter_ns()
        footer = {"version": settings.version, "run_id": settings.run_id}
        for table, answers in self._answers.items():
            uri = layout.unit_file(settings.output, table, settings.day, unit)
            writer.put(uri, answers.to_arrow(), answers.recipe.metadata() | footer)
        failures = sorted(self._failures.values(), key=lambda failure: failure.uri)
        rows = schemas.failures_to_arrow(failures, settings.run_id, datetime.now(timezone.utc))
        writer.put(layout.unit_file(settings.output, layout.FAILURES, settings.day, unit), rows, footer)
        self.spent(Counter({counts.key(counts.NANOSECONDS, "write"): time.perf_counter_ns() - since, counts.UNITS: 1}))
