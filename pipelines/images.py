"""The graph that processes images of any PCollection: collect them into units, and process each unit."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from math import ceil
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import StandardOptions
from apache_beam.transforms.window import GlobalWindows

from transforms import defaults
from transforms.errors import UsageError
from transforms.inference.recipe import Recipe
from transforms.process_rows import EMBEDDINGS, FAILURES, PREDICTIONS, TAGS, ProcessRows, RowSettings
from transforms.records import ImageRef
from transforms.tables import typed_rows

_TAGS = {"classify": PREDICTIONS, "embed": EMBEDDINGS}


class Process(beam.PTransform):
    """URIs, ImageRefs, or (key, bytes) -> rows by table, see ``process_rows.TAGS``.

    Bounded images are counted and shuffled into units, as many as the workers need, whatever the bundles and windows
    that they arrive in. Unbounded images are collected in the state of their window, until there is a unit of them or
    the first one has waited long enough. Where windows merge, state cannot be used, and a unit is a part of a bundle.

    Args:
        recipes: One recipe for each table.
        settings: How to process units.
        unit_size: Maximum number of images in a unit, or the average number where images are bounded.
        max_wait: Maximum number of seconds for which an unbounded image waits for others.
        workers: Number of concurrent workers. A small bounded PCollection has a unit for each.
        clock: Returns the time for ``max_wait``.
    """

    def __init__(
        self,
        recipes: tuple[Recipe, ...],
        settings: RowSettings,
        *,
        unit_size: int = defaults.UNIT_SIZE,
        max_wait: float = defaults.MAX_WAIT,
        workers: int = 1,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__()
        self._recipes = recipes
        self._settings = settings
        self._unit_size = unit_size
        self._max_wait = max_wait
        self._workers = workers
        self._clock = clock

    def expand(self, images: beam.PCollection) -> dict[str, beam.PCollection]:
        rows = (
            images
            | "Units" >> self._units(images)
            | "Process" >> beam.ParDo(ProcessRows(self._recipes, self._settings)).with_outputs(*TAGS)
        )
        kinds = {_TAGS[recipe.spec.task]: typed_rows.kind_of(recipe) for recipe in self._recipes}
        result = {}
        for tag, kind in {**kinds, FAILURES: typed_rows.FailureRow}.items():
            result[tag] = rows[tag]
            result[tag].element_type = kind
            # As Beam's Reshuffle does: the rows have the windows of their elements, and not those of the units.
            result[tag]._windowing = images.windowing
        return result

    def _units(self, images: beam.PCollection) -> beam.PTransform:
        if images.is_bounded and not images.pipeline.options.view_as(StandardOptions).streaming:
            return _CountedUnits(self._unit_size, self._workers)
        if images.windowing.windowfn.is_merging():
            return _UnitsOfBundles(self._unit_size)
        return _TimedUnits(self._unit_size, self._max_wait, self._clock)


class _CountedUnits(beam.PTransform):
    """Bounded images -> (unit, Elements). A unit may have images of several windows."""

    def __init__(self, size: int, workers: int) -> None:
        super().__init__()
        self._size = size
        self._workers = workers

    def expand(self, images: beam.PCollection) -> Any:
        elements = (
            images
            | "Elements" >> beam.ParDo(_Reify()).with_output_types(tuple[Any, ...])
            | "One window" >> beam.WindowInto(GlobalWindows())
        )
        total = elements | "Total" >> beam.combiners.Count.Globally()
        spread = beam.ParDo(_Spread(self._size, self._workers), beam.pvalue.AsSingleton(total))
        return (
            elements
            | "Spread" >> spread.with_output_types(tuple[int, tuple[Any, ...]])
            | "By unit" >> beam.GroupByKey()
        )


class _TimedUnits(beam.PTransform):
    """Unbounded images -> (key, Elements), bounded in number and in time. A unit has images of one window."""

    def __init__(self, size: int, seconds: float, clock: Callable[[], float]) -> None:
        super().__init__()
        self._size = size
        self._seconds = seconds
        self._clock = clock

    def expand(self, images: beam.PCollection) -> Any:
        return (
            images
            | "Elements" >> beam.ParDo(_Reify(keep_windows=False)).with_output_types(tuple[Any, ...])
            | "Keys" >> beam.WithKeys("").with_output_types(tuple[str, tuple[Any, ...]])
            | "Batch" >> beam.GroupIntoBatches.WithShardedKey(self._size, self._seconds, self._clock)
        )


class _UnitsOfBundles(beam.PTransform):
    """Unbounded images in windows that merge -> (None, Elements) of one bundle and window each."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self._size = size

    def expand(self, images: beam.PCollection) -> Any:
        return (
            images
            | "Elements" >> beam.ParDo(_Reify()).with_output_types(tuple[Any, ...])
            | "Batch" >> beam.BatchElements(min_batch_size=self._size, max_batch_size=self._size)
            | "Keys" >> beam.WithKeys(None)
        )


class _Reify(beam.DoFn):
    """An image -> its ``process_rows.Element`` as a plain tuple, which Beam encodes fast."""

    def __init__(self, *, keep_windows: bool = True) -> None:
        self._keep_windows = keep_windows

    def process(
        self, image: Any, timestamp: Any = beam.DoFn.TimestampParam, window: Any = beam.DoFn.WindowParam
    ) -> Iterator[tuple[Any, ...]]:
        ref, data = to_ref(image)
        yield tuple(ref), data, timestamp, (window,) if self._keep_windows else None


class _Spread(beam.DoFn):
    """Elements -> (unit, Element), in turn, so that all units are equally large."""

    def __init__(self, size: int, workers: int) -> None:
        self._size = size
        self._workers = workers
        self._next: int | None = None

    def process(self, element: tuple[Any, ...], total: int) -> Iterator[Any]:
        units = max(ceil(total / self._size), min(self._workers, total))
        if self._next is None:
            self._next = random.randrange(units)  # else many workers fill the first units only
        self._next = (self._next + 1) % units
        yield self._next, element


def to_ref(image: Any) -> tuple[ImageRef, bytes | None]:
    """Return the ref of an element, and its bytes if it has them.

    Args:
        image: A URI, an ImageRef, a row with a column ``uri``, or a pair of a key and the bytes of an image.

    Raises:
        UsageError: It is none of these.
    """
    if isinstance(image, str):
        return ImageRef(image), None
    if isinstance(image, ImageRef):
        return image, None
    if isinstance(image, tuple) and len(image) == 2 and isinstance(image[0], str) and isinstance(image[1], bytes):
        return ImageRef(image[0]), image[1]
    if isinstance(uri := getattr(image, "uri", None), str):
        if all(hasattr(image, name) for name in ImageRef._fields):  # as Beam decodes an ImageRef on another machine
            return ImageRef(*(getattr(image, name) for name in ImageRef._fields)), None
        return ImageRef(uri), None
    raise UsageError(
        f"an element of type {type(image).__name__} is not an image; pass URIs as str, ImageRefs, rows with a column "
        "uri, or pairs of a key as str and the image as bytes"
    )
