"""Process a unit of images as a stream: fetch, decode, fit, run the models in batches, write one file a table."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from itertools import repeat
from typing import Any

import apache_beam as beam
from apache_beam.utils.shared import Shared

from transforms import counts, defaults, run_state
from transforms.counts import Tally
from transforms.errors import InferenceError
from transforms.history import unfinished
from transforms.imaging import fetch, opening, prepare
from transforms.imaging.fetch import Fetched
from transforms.imaging.isolated import IsolatedDecoder
from transforms.imaging.prepare import Failed, Limits, Prepared
from transforms.inference import bundle, engines
from transforms.inference.concurrent import BatchResult, ConcurrentModels, Model
from transforms.inference.engine import Floats
from transforms.inference.recipe import Recipe
from transforms.prefetch import prefetch
from transforms.records import Failure, ImageRef, Unit, Work
from transforms.run_state import RunState
from transforms.storage import files
from transforms.tables import layout, schemas, writer
from transforms.tables.publish import UnitFile
from transforms.tables.rows import TableRows


@dataclass(frozen=True, slots=True)
class Settings:
    """How to process units, and where to write their files.

    Attributes:
        output: The folder of the tables.
        day: The logical day of images whose ref has none, as ``2026-11-20``. It is the same on all workers.
        run_id: The id of the run. It is the same on all workers.
        version: The version of beamsight, which every file records.
        lock_token: The token of the lock that the run holds. Only its holder publishes.
        limits: Limits on the size of files and images.
        batch: Images per call of a model. None for the engine's default.
        engine_threads: Cores that each engine may use. None for all.
        threads: Number of concurrent downloads.
        window: Maximum number of images ahead of the models. Their pixels take 2 MB each for B7 and B6 together. None
            for the default, which keeps the models busy.
    """

    output: str
    day: str
    run_id: str
    version: str
    limits: Limits = field(default_factory=Limits)
    batch: int | None = None
    engine_threads: int | None = None
    threads: int = defaults.THREADS
    window: int | None = None
    lock_token: str = ""


class ProcessUnits(beam.DoFn):
    """Unit -> its files, and its counts with the tag ``TALLY``.

    Each worker process loads the models once, and its threads share them.
    """

    TALLY = "tally"

    def __init__(self, recipes: tuple[Recipe, ...], settings: Settings) -> None:
        self._recipes = recipes
        self._settings = settings
        self._shared = Shared()
        self._models: list[Model] = []

    def process(self, unit: Unit) -> Iterator[Any]:
        # Not in setup: it also runs on workers without work, and models take seconds and gigabytes.
        self._models = self._models or self._shared.acquire(self._load)
        unit_files, tally = process_unit(unit, self._models, self._settings)
        yield from map(tuple, unit_files)
        yield beam.pvalue.TaggedOutput(self.TALLY, tally)

    def _load(self) -> _Models:
        with ThreadPoolExecutor(len(self._recipes)) as pool:  # loading a model uses mostly one core
            return _Models(pool.map(_load, self._recipes, repeat(self._settings)))


class _Models(list[Model]):
    """A list that supports weak references, which ``Shared`` needs."""


def _load(recipe: Recipe, settings: Settings) -> Model:
    form = engines.form(recipe.engine)
    folder = bundle.localize(recipe.bundle, recipe.content_hash, quantized=recipe.quantized, form=form)
    loaded = engines.load(
        recipe.engine, folder, recipe.spec, recipe.precision, batch=settings.batch, threads=settings.engine_threads
    )
    return Model(recipe, loaded, bundle.load_labels(folder, recipe.spec))


def process_unit(unit: Unit, models: list[Model], settings: Settings) -> tuple[list[UnitFile], Tally]:
    """Process a unit and write its files. Return the files and the counts.

    Each image ends as a row in each table that lacks it, or as one failure row. Memory does not depend on the number
    of images: at most ``window`` images are fetched ahead, each model collects one batch, and the number of waiting
    calls is bounded.

    Raises:
        StorageDown: The storage of the images does not answer. Nothing is written.
        Stopped: The run has to stop. Nothing is written.
    """
    state = run_state.of(settings.run_id)
    state.stop.check()
    tables = {table for work in unit.work for table in work.tables}
    results = _Results([model for model in models if model.recipe.table in tables], state)
    with unfinished.mark(settings.output, settings.run_id, unit) as suspects:
        _process(unit, suspects, results, settings)
        unit_files = results.write(unit, settings)
    state.finished.add(results.tally)
    return unit_files, results.tally


def _process(unit: Unit, suspects: frozenset[str], results: _Results, settings: Settings) -> None:
    """Run the models on all images of a unit. ``suspects`` are opened in a child process."""
    models, state = results.models, results.state
    specs = {model.recipe.table: model.recipe.spec for model in models}
    # The next batch is prepared while the models process the current one.
    in_progress = max(model.engine.batch * model.engine.parallel for model in models)
    window = settings.window or max(settings.threads, 2 * in_progress)

    def fetch_image(ref: ImageRef, max_bytes: int, timeout: float) -> Fetched:
        with state.outage.watch(ref.uri):
            return fetch.fetch(ref, max_bytes, timeout)

    def prepare_image(work: Work) -> Prepared | Failed:
        open_image = isolated if work.ref.uri in suspects else opening.open_image
        return prepare.prepare(work, specs, settings.limits, fetch_image, open_image)

    with (
        IsolatedDecoder(settings.limits.max_pixels) as isolated,
        ConcurrentModels(models, results.add_batch, state.stop.check) as inference,
    ):
        for image in prefetch(unit.work, prepare_image, threads=settings.threads, window=window):
            state.stop.check()  # nothing is written before the end of a unit, so it can be discarded here
            results.count(image.tally)
            if isinstance(image, Failed):
                results.add_failure(image.failure)
            else:
                inference.put(image)
            del image  # frees its pixels before the next image arrives
        inference.finish()
    state.outage.require_answer(files.exists)


class _Results:
    """The rows of a unit until they are written, and its counts."""

    def __init__(self, models: list[Model], state: RunState) -> None:
        self.models = models
        self.state = state
        self.tally: Tally = Counter()
        self._rows = {model.recipe.table: TableRows(model.recipe, model.labels) for model in models}
        self._failures: dict[str, Failure] = {}
        self._refused: dict[str, dict[str, Failure]] = {}  # by URI and table, until all models have processed the image

    def count(self, tally: Tally) -> None:
        self.tally.update(tally)
        self.state.live.add(tally)
        counts.publish(tally)  # now, so that the console shows progress within a unit

    def add_batch(self, batch: BatchResult) -> None:
        """Add the results and the failures of one call of a model."""
        recipe = batch.model.recipe
        task = recipe.spec.task
        time_key, batch_key = counts.key(counts.NANOSECONDS, task), counts.key(counts.BATCHED, task)
        self.count(Counter({time_key: batch.nanoseconds, batch_key: len(batch.images)}))
        for image, output in zip(batch.images, batch.outputs, strict=True):
            uri = image.work.ref.uri
            if isinstance(output, InferenceError):
                output.version = image.version
                refused = Failure.of(image.work._replace(tables=(recipe.table,)), output)
                self._refused.setdefault(uri, {})[recipe.table] = refused
            else:
                self._add_row(recipe.table, image, output)
            image.unanswered -= 1
            if not image.unanswered:
                if uri in self._refused:
                    self.add_failure(self._merge(self._refused.pop(uri)))
                self.count(Counter({counts.IMAGES: 1}))

    def _merge(self, refused: dict[str, Failure]) -> Failure:
        """Return one row for an image. If several models refuse it, the reason of the first table is kept.

        The order in which the models finish makes no difference.
        """
        tables = tuple(table for table in self._rows if table in refused)
        retryable = any(failure.retryable for failure in refused.values())
        return replace(refused[tables[0]], tables=tables, retryable=retryable)

    def add_failure(self, failure: Failure) -> None:
        """Add a row to the failures table."""
        self._failures[failure.uri] = failure
        reason = counts.key(failure.stage, failure.error)
        self.count(Counter({counts.key(counts.FAILED, failure.stage): 1, counts.key(counts.REASON, reason): 1}))
        if failure.retryable:
            self.count(Counter({counts.TRANSIENT: 1}))

    def _add_row(self, table: str, image: Prepared, output: Floats) -> None:
        self._rows[table].add(image, output)
        self.count(Counter({counts.key(counts.OK, table): 1}))

    def write(self, unit: Unit, settings: Settings) -> list[UnitFile]:
        """Write the tables first and the failures last. If the process dies in between, the failures are retried."""
        start = time.perf_counter_ns()
        footer = {"version": settings.version, "run_id": settings.run_id}
        written = []
        failures = sorted(self._failures.values(), key=lambda failure: failure.uri)
        failure_rows = schemas.failures_to_arrow(failures, settings.run_id, datetime.now(timezone.utc))
        for table, rows, metadata in (
            *((table, rows.to_arrow(settings.run_id), rows.recipe.metadata()) for table, rows in self._rows.items()),
            (layout.FAILURES, failure_rows, {}),
        ):
            uri = layout.unit_file(settings.output, settings.run_id, table, unit.day, unit.name)
            if size := writer.put(uri, rows, metadata | footer):
                written.append(UnitFile(table, unit.day, uri, size, rows.num_rows))
        self.count(Counter({counts.key(counts.NANOSECONDS, "write"): time.perf_counter_ns() - start, counts.UNITS: 1}))
        return written
