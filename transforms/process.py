"""Process a unit of images, and write one file a table."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import partial
from typing import Any

import apache_beam as beam
from apache_beam.utils.shared import Shared

from transforms import counts, defaults, run_state
from transforms.counts import Tally
from transforms.history import unfinished
from transforms.imaging.prepare import Failed, Limits
from transforms.inference import loading
from transforms.inference.concurrent import Model
from transforms.inference.recipe import Recipe
from transforms.records import Failure, Unit
from transforms.stream import Answers, Input, Stream
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
        self._settings = settings
        self._load = partial(loading.load, recipes, batch=settings.batch, threads=settings.engine_threads)
        self._shared = Shared()
        self._models: list[Model] = []

    def process(self, unit: Unit) -> Iterator[Any]:
        # Not in setup: it also runs on workers without work, and models take seconds and gigabytes.
        self._models = self._models or self._shared.acquire(self._load)
        unit_files, tally = process_unit(unit, self._models, self._settings)
        yield from map(tuple, unit_files)
        yield beam.pvalue.TaggedOutput(self.TALLY, tally)


def process_unit(unit: Unit, models: list[Model], settings: Settings) -> tuple[list[UnitFile], Tally]:
    """Process a unit and write its files. Return the files and the counts.

    Each image ends as a row in each table that lacks it, or as one failure row. See ``Stream.process`` for the memory.

    Raises:
        StorageDown: The storage of the images does not answer. Nothing is written.
        Stopped: The run has to stop. Nothing is written.
    """
    state = run_state.of(settings.run_id)
    state.stop.check()
    tables = {table for work in unit.work for table in work.tables}
    models = [model for model in models if model.recipe.table in tables]
    stream = Stream(models, state, limits=settings.limits, threads=settings.threads, window=settings.window)
    rows = _UnitRows(models)
    with unfinished.mark(settings.output, settings.run_id, unit) as suspects:
        for result in stream.process(map(Input, unit.work), suspects):
            rows.add(result)
        start = time.perf_counter_ns()
        unit_files = rows.write(unit, settings)
        time_key = counts.key(counts.NANOSECONDS, "write")
        stream.count(Counter({time_key: time.perf_counter_ns() - start, counts.UNITS: 1}))
    state.finished.add(stream.tally)
    return unit_files, stream.tally


class _UnitRows:
    """The rows of a unit until they are written."""

    def __init__(self, models: list[Model]) -> None:
        self._rows = {model.recipe.table: TableRows(model.recipe, model.labels) for model in models}
        self._failures: list[Failure] = []

    def add(self, result: Answers | Failed) -> None:
        if isinstance(result, Failed):
            self._failures.append(result.failure)
            return
        rows = self._rows[result.model.recipe.table]
        for image, output in zip(result.images, result.outputs, strict=True):
            rows.add(image, output)

    def write(self, unit: Unit, settings: Settings) -> list[UnitFile]:
        """Write the tables first and the failures last. If the process dies in between, the failures are retried."""
        footer = {"version": settings.version, "run_id": settings.run_id}
        written = []
        failures = sorted(self._failures, key=lambda failure: failure.uri)
        failure_rows = schemas.failures_to_arrow(failures, settings.run_id, datetime.now(timezone.utc))
        for table, rows, metadata in (
            *((table, rows.to_arrow(settings.run_id), rows.recipe.metadata()) for table, rows in self._rows.items()),
            (layout.FAILURES, failure_rows, {}),
        ):
            uri = layout.unit_file(settings.output, settings.run_id, table, unit.day, unit.name)
            if size := writer.put(uri, rows, metadata | footer):
                written.append(UnitFile(table, unit.day, uri, size, rows.num_rows))
        return written
