"""Load the models of a worker."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from transforms.imaging import resizing
from transforms.inference import bundle, engines
from transforms.inference.concurrent import Model
from transforms.inference.recipe import Recipe

_STREAMS = 2  # While the models finish the images of one stream, the other one fetches.


class Models(list[Model]):
    """A list that supports weak references, which Beam's ``Shared`` needs.

    Attributes:
        streams: Limits the streams that use the models at the same time, for runners with many threads in a process.
    """

    def __init__(self, models: Iterable[Model] = ()) -> None:
        super().__init__(models)
        self.streams = threading.Semaphore(_STREAMS)


def load(recipes: Sequence[Recipe], *, batch: int | None = None, threads: int | None = None) -> Models:
    """Load the models of some recipes at the same time.

    Args:
        recipes: What to load.
        batch: Images per call of a model. None for the engine's default.
        threads: Cores that each engine may use. None for all.
    """
    with ThreadPoolExecutor(len(recipes)) as pool:  # loading a model uses mostly one core
        return Models(pool.map(partial(_load, batch=batch, threads=threads), recipes))


def _load(recipe: Recipe, batch: int | None, threads: int | None) -> Model:
    resizing.require(recipe.spec.resizer)
    form = engines.form(recipe.engine)
    folder = bundle.localize(recipe.bundle, recipe.content_hash, quantized=recipe.quantized, form=form)
    loaded = engines.load(recipe.engine, folder, recipe.spec, recipe.precision, batch=batch, threads=threads)
    return Model(recipe, loaded, bundle.load_labels(folder, recipe.spec))
