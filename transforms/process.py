"""Process a unit of images, and write one file a table."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone

import pyarrow as pa

from transforms import counts, run_state
from transforms.counts import Tally
from transforms.history import unfinished
from transforms.imaging.prepare import Failed, Limits
from transforms.inference.concurrent import Model
from transforms.records import Failure, ShardCount, Unit
from transforms.shards.container import ShardOptions
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
        threads: Number of concurrent downloads. None for the default, which keeps all cores busy.
        window: Maximum number of images ahead of the models. Their pixels take 2 MB each for B7 and B6 together. None
            for the default, which keeps the models busy.
        shards: How to find the images in shards.
    """

    output: str
    day: str
    run_id: str
    version: str
    limits: Limits = field(default_factory=Limits)
    batch: int | None = None
    engine_threads: int | None = None
    threads: int | None = None
    window: int | None = None
    lock_token: str = ""
    shards: ShardOptions = field(default_factory=ShardOptions)


def process_unit(
    unit: Unit,
    models: list[Model],
    settings: Settings,
    inputs: Iterable[Input] | None = None,
    shards: Sequence[ShardCount] = (),
) -> tuple[list[UnitFile], Tally]:
    """Process a unit and write its files. Return the files and the counts.

    Each image ends as a row in each table that lacks it, or as one failure row. See ``Stream.process`` for the memory.

    Args:
        unit: The images. It has none if only ``shards`` are to be written.
        models: The models of all tables.
        settings: How to process the unit, and where to write its files.
        inputs: How to read the images. None to read each from its URI. Their origin is the count of their shard.
        shards: The shards whose last image is in this unit or in an earlier one.

    Raises:
        StorageDown: The storage of the images does not answer. Nothing is written.
        Stopped: The run has to stop. Nothing is written.
    """
    state = run_state.of(settings.run_id)
    state.stop.check()
    tables = {table for work in (*unit.work, *(shard.work for shard in shards)) for table in work.tables}
    models = [model for model in models if model.recipe.table in tables]
    stream = Stream(models, state, limits=settings.limits, threads=settings.threads, window=settings.window)
    rows = _UnitRows(models)
    with unfinished.mark(settings.output, settings.run_id, unit) as suspects:
        for result in stream.process(map(Input, unit.work) if inputs is None else inputs, suspects):
            rows.add(result)
        start = time.perf_counter_ns()
        unit_files = rows.write(unit, settings, shards)
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
            if result.origin is not None:
                result.origin.add_failure(result.failure.uri, retryable=result.failure.retryable)
            return
        rows = self._rows[result.model.recipe.table]
        for image, output in zip(result.images, result.outputs, strict=True):
            rows.add(image, output)

    def write(self, unit: Unit, settings: Settings, shards: Sequence[ShardCount]) -> list[UnitFile]:
        """Write the rows, then the failures, and then the shards.

        If the process dies in between, the failures are retried, and the shards are opened again.
        """
        footer = {"version": settings.version, "run_id": settings.run_id}
        written = []
        failures = sorted(self._failures, key=lambda failure: failure.uri)
        failure_rows = schemas.failures_to_arrow(failures, settings.run_id, datetime.now(timezone.utc))
        for table, rows, metadata in (
            *((table, rows.to_arrow(settings.run_id), rows.recipe.metadata()) for table, rows in self._rows.items()),
            (layout.FAILURES, failure_rows, {}),
            *(self._shard_rows(shards, settings.run_id) if shards else ()),
        ):
            uri = layout.unit_file(settings.output, settings.run_id, table, unit.day, unit.name)
            if size := writer.put(uri, rows, metadata | footer):
                written.append(UnitFile(table, unit.day, uri, size, rows.num_rows))
        return written

    def _shard_rows(self, shards: Sequence[ShardCount], run_id: str) -> Iterator[tuple[str, pa.Table, dict[str, str]]]:
        for table, rows in self._rows.items():
            own = [shard for shard in shards if table in shard.work.tables]
            arrow = schemas.shards_to_arrow(own, rows.recipe.folder, run_id)
            yield layout.shards_of(table), arrow, rows.recipe.metadata()
