"""Models that share a machine: images in, what each model makes of them out, as many calls at once as keep it busy."""

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
from transforms.stop import STOP


@dataclass(frozen=True, slots=True)
class Model:
    """A table that is asked for, and what answers for it."""

    recipe: Recipe
    engine: Engine
    labels: tuple[Label, ...]


@dataclass(frozen=True, slots=True)
class Answered:
    """What a model made of some images, and the time that it took."""

    model: Model
    images: list[Prepared]
    outputs: list[engine.Floats | InferenceError]
    nanoseconds: int


class SideBySide:
    """Images -> batches -> calls of the models, side by side in threads -> results, settled in the caller's thread.

    The models share the machine: all together have as many calls under way as keep it busy, whatever model they are of,
    so that none waits at the end of another's batch.
    """

    def __init__(self, models: Sequence[Model], take: Callable[[Answered], None]) -> None:
        self._models = models
        self._take = take
        self._gathered: dict[str, list[Prepared]] = {model.recipe.table: [] for model in models}
        self._parallel = max(model.engine.parallel for model in models)
        self._pool = ThreadPoolExecutor(self._parallel, thread_name_prefix="inference")
        self._calls: set[Future[Answered]] = set()

    def __enter__(self) -> SideBySide:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)  # and wait for those under way

    def put(self, image: Prepared) -> None:
        """Give an image to its models, and wait for a call to end when too many wait for their turn."""
        for model in self._models:
            gathered = self._gathered[model.recipe.table]
            if model.recipe.table in image.pixels:
                gathered.append(image)
            if len(gathered) >= model.engine.batch:
                self._call(model)
        while len(self._calls) > self._parallel:
            self._settle()

    def finish(self) -> None:
        """Run what is gathered, and wait for all of it."""
        for model in self._models:
            if self._gathered[model.recipe.table]:
                self._call(model)
        while self._calls:
            STOP.check()
            self._settle()

    def _call(self, model: Model) -> None:
        table = model.recipe.table
        images, self._gathered[table] = self._gathered[table], []
        pictures = [image.pixels.pop(table) for image in images]
        self._calls.add(self._pool.submit(_infer, model, images, pictures))

    def _settle(self) -> None:
        done, self._calls = wait(self._calls, return_when=FIRST_COMPLETED)
        for call in done:
            self._take(call.result())


def _infer(model: Model, images: list[Prepared], pictures: list[engine.Pixels]) -> Answered:
    since = time.perf_counter_ns()
    outputs = engine.infer_each(model.engine, pictures, model.recipe.spec)
    return Answered(model, images, outputs, time.perf_counter_ns() - since)
