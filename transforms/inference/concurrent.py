"""Run several models on one machine, with as many concurrent calls as keep it busy."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

from transforms.errors import InferenceError
from transforms.imaging.prepare import Prepared
from transforms.inference import engine
from transforms.inference.engine import Engine
from transforms.inference.labels import Label
from transforms.inference.recipe import Recipe


@dataclass(frozen=True, slots=True)
class Model:
    """A table to write, with the engine and the labels that its rows need."""

    recipe: Recipe
    engine: Engine
    labels: tuple[Label, ...]


@dataclass(frozen=True, slots=True)
class BatchResult:
    """The outputs of one call of a model, one for each image, and the time that it took."""

    model: Model
    images: list[Prepared]
    outputs: list[engine.Floats | InferenceError]
    nanoseconds: int


class ConcurrentModels:
    """Collects images into batches and runs the models on them in threads.

    All models share one limit on concurrent calls, so that no model waits for a batch of another one to end. Results
    are delivered in the thread of the caller. ``check`` is called before each wait for them, and may raise an error.
    """

    def __init__(
        self, models: Sequence[Model], deliver: Callable[[BatchResult], None], check: Callable[[], None]
    ) -> None:
        self._models = models
        self._deliver = deliver
        self._check = check
        self._batches: dict[str, list[Prepared]] = {model.recipe.table: [] for model in models}
        self._parallel = max(model.engine.parallel for model in models)
        self._pool = ThreadPoolExecutor(self._parallel, thread_name_prefix="inference")
        self._calls: set[Future[BatchResult]] = set()

    def __enter__(self) -> ConcurrentModels:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)  # waits for the calls in progress

    def put(self, image: Prepared) -> None:
        """Pass an image to its models. Wait for a call to end if too many are queued."""
        for model in self._models:
            batch = self._batches[model.recipe.table]
            if model.recipe.table in image.pixels:
                batch.append(image)
            if len(batch) >= model.engine.batch:
                self._call(model)
        while len(self._calls) > self._parallel:
            self._wait_for_one()

    def finish(self) -> None:
        """Run the models on the remaining images, and wait for all calls."""
        for model in self._models:
            if self._batches[model.recipe.table]:
                self._call(model)
        while self._calls:
            self._check()
            self._wait_for_one()

    def _call(self, model: Model) -> None:
        table = model.recipe.table
        images, self._batches[table] = self._batches[table], []
        pixels = [image.pixels.pop(table) for image in images]
        self._calls.add(self._pool.submit(_infer, model, images, pixels))

    def _wait_for_one(self) -> None:
        done, self._calls = wait(self._calls, return_when=FIRST_COMPLETED)
        for call in done:
            self._deliver(call.result())


def _infer(model: Model, images: list[Prepared], pixels: list[engine.Pixels]) -> BatchResult:
    start = time.perf_counter_ns()
    outputs = engine.infer_each(model.engine, pixels, model.recipe.spec)
    return BatchResult(model, images, outputs, time.perf_counter_ns() - start)
