"""Process images inside a pipeline, and emit a row for each result. Nothing is written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import partial
from typing import Any, NamedTuple

import apache_beam as beam
from apache_beam.utils.shared import Shared
from apache_beam.utils.timestamp import Timestamp
from apache_beam.utils.windowed_value import WindowedValue

from transforms import run_state
from transforms.imaging.prepare import Failed, Limits
from transforms.inference import loading
from transforms.inference.loading import Models
from transforms.inference.recipe import Recipe
from transforms.records import ImageRef, Work
from transforms.stream import Answers, Input, Stream
from transforms.tables import typed_rows
from transforms.tables.rows import TableRows

PREDICTIONS, EMBEDDINGS, FAILURES = TAGS = ("predictions", "embeddings", "failures")

_TAGS = {"classify": PREDICTIONS, "embed": EMBEDDINGS}


@dataclass(frozen=True, slots=True)
class RowSettings:
    """How to process images.

    Attributes:
        run_id: The id in all rows. It is the same on all workers.
        limits: Limits on the size of files and images.
        batch: Images per call of a model. None for the engine's default.
        engine_threads: Cores that each engine may use. None for all.
        threads: Number of concurrent downloads. None for the default, which keeps all cores busy.
        window: Maximum number of images ahead of the models. None for the default, which keeps the models busy.
    """

    run_id: str
    limits: Limits = field(default_factory=Limits)
    batch: int | None = None
    engine_threads: int | None = None
    threads: int | None = None
    window: int | None = None


class Element(NamedTuple):
    """An element of the caller as it is shuffled.

    Attributes:
        ref: An ImageRef as a plain tuple.
        data: The bytes of the image. None to read them.
        timestamp: The timestamp of the element, which its rows get.
        windows: The windows of the element, which its rows get. None for the window of the unit.
    """

    ref: tuple[Any, ...]
    data: bytes | None
    timestamp: Timestamp
    windows: tuple[Any, ...] | None = None


class ProcessRows(beam.DoFn):
    """(any key, Elements) -> the rows of the images, with the tags ``TAGS``.

    Each worker process loads the models once, and its threads share them. Rows have the timestamp and the windows of
    their element.
    """

    def __init__(self, recipes: tuple[Recipe, ...], settings: RowSettings) -> None:
        self._tables = tuple(recipe.table for recipe in recipes)
        self._settings = settings
        self._load = partial(loading.load, recipes, batch=settings.batch, threads=settings.engine_threads)
        self._shared = Shared()
        self._models: Models | None = None

    def process(self, unit: tuple[Any, Iterable[Any]], window: Any = beam.DoFn.WindowParam) -> Iterator[Any]:
        # Not in setup: it also runs on workers without work, and models take seconds and gigabytes.
        self._models = self._models or self._shared.acquire(self._load)
        inputs = (self._input(Element._make(element), window) for element in unit[1])
        for result in process_images(inputs, self._models, self._settings):
            yield from _emit(result, self._settings.run_id)

    def _input(self, element: Element, window: Any) -> Input:
        work = Work(ImageRef._make(element.ref), self._tables)
        return Input(work, element.data, (element.timestamp, element.windows or (window,)))


def process_images(inputs: Iterable[Input], models: Models, settings: RowSettings) -> list[Answers | Failed]:
    """Return the results of all images. Only the bounded window of the stream holds pixels.

    Raises:
        StorageDown: The storage of the images does not answer. The runner retries the images.
    """
    state = run_state.of(settings.run_id)
    state.stop.check()
    stream = Stream(models, state, limits=settings.limits, threads=settings.threads, window=settings.window)
    with models.streams:
        results = list(stream.process(inputs))
    state.finished.add(stream.tally)
    return results


def _emit(result: Answers | Failed, run_id: str) -> Iterator[Any]:
    if isinstance(result, Failed):
        row = typed_rows.of_failure(result.failure, run_id, datetime.now(timezone.utc))
        yield beam.pvalue.TaggedOutput(FAILURES, WindowedValue(row, *result.origin))
        return
    recipe = result.model.recipe
    rows = TableRows(recipe, result.model.labels)
    for image, output in zip(result.images, result.outputs, strict=True):
        rows.add(image, output)
    for image, row in zip(result.images, rows.to_tuples(run_id), strict=True):
        yield beam.pvalue.TaggedOutput(_TAGS[recipe.spec.task], WindowedValue(row, *image.origin))
