"""The step of the graph that runs the models."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import apache_beam as beam
from apache_beam.utils.shared import Shared

from pipelines.options import CatalogOptions
from transforms import process, process_shards
from transforms.history.known import History
from transforms.inference import loading
from transforms.inference.concurrent import Model
from transforms.records import ShardTask, Unit


class ProcessUnits(beam.DoFn):
    """Unit or ShardTask -> the files of finished units, and their counts with the tag ``TALLY``.

    Each worker process loads the models once, and its threads share them.
    """

    TALLY = "tally"

    def __init__(self, options: CatalogOptions) -> None:
        settings = options.settings
        self._options = options
        self._load = partial(loading.load, options.recipes, batch=settings.batch, threads=settings.engine_threads)
        self._shared = Shared()
        self._models: list[Model] = []
        self._history: History | None = None

    def process(self, work: Unit | ShardTask) -> Iterator[Any]:
        # Not in setup: it also runs on workers without work, and models take seconds and gigabytes.
        self._models = self._models or self._shared.acquire(self._load)
        if isinstance(work, Unit):
            done = iter([process.process_unit(work, self._models, self._options.settings)])
        else:
            self._history = self._history or self._options.history()
            done = process_shards.process_task(
                work, self._models, self._options.settings, self._history.find, self._options.unit_size
            )
        for unit_files, tally in done:
            yield from map(tuple, unit_files)
            yield beam.pvalue.TaggedOutput(self.TALLY, tally)
