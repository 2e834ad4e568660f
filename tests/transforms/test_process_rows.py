"""Images to rows, without Beam's runners: what a model refuses, and what several threads do. The engine is a fake."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from apache_beam.transforms.window import GlobalWindow
from fake_models import CLASSIFIER, EMBEDDER, FakeEngine, model

from transforms import process_rows
from transforms.errors import EngineError
from transforms.imaging import drawn
from transforms.imaging.prepare import Failed, Limits
from transforms.inference.engine import Floats, Pixels
from transforms.inference.loading import Models
from transforms.process_rows import ProcessRows, RowSettings
from transforms.records import ImageRef, Work
from transforms.stream import Input

SETTINGS = RowSettings("r1")


def inputs(models: Models, greys: list[int]) -> Iterator[Input]:
    tables = tuple(each.recipe.table for each in models)
    for number, grey in enumerate(greys):
        data = drawn.encode(np.full((32, 32, 3), grey, np.uint8), "png")
        yield Input(Work(ImageRef(f"{number}"), tables), data, number)


def test_the_one_image_that_a_model_refuses_is_found() -> None:
    def refuse_200(means: Floats) -> EngineError | None:
        return EngineError("no 200") if (means == 200).any() else None

    models = Models([model(CLASSIFIER, FakeEngine(3, refuse_200)), model(EMBEDDER)])
    results = process_rows.process_images(inputs(models, [1, 2, 200, 4]), models, SETTINGS)
    (failed,) = (result for result in results if isinstance(result, Failed))
    assert (failed.failure.uri, failed.failure.error, failed.origin) == ("2", "Refused", 2)
    assert failed.failure.tables == (models[0].recipe.table,)
    answers = {result.model.recipe.table: set[int]() for result in results if not isinstance(result, Failed)}
    for result in results:
        if not isinstance(result, Failed):
            answers[result.model.recipe.table] |= {image.origin for image in result.images}
    assert list(answers.values()) in ([{0, 1, 3}, {0, 1, 2, 3}], [{0, 1, 2, 3}, {0, 1, 3}])


def test_limits_hold_for_bytes_too() -> None:
    models = Models([model(EMBEDDER)])
    settings = RowSettings("r1", limits=Limits(max_bytes=10))
    (failed,) = process_rows.process_images(inputs(models, [1]), models, settings)
    assert isinstance(failed, Failed)
    assert (failed.failure.stage, failed.failure.error) == ("fetch", "TooManyBytes")
    assert len(str(failed.failure.version)) == 64


def test_few_streams_run_at_once_whatever_the_number_of_threads() -> None:
    lock = threading.Lock()
    running = most = 0

    class Counting(FakeEngine):
        def infer(self, pixels: Pixels) -> Floats:
            nonlocal running, most
            with lock:
                running += 1
                most = max(most, running)
            try:
                return super().infer(pixels)
            finally:
                with lock:
                    running -= 1

    models = Models([model(EMBEDDER, Counting(4, batch=1))])

    def process(_: int) -> int:
        return len(process_rows.process_images(inputs(models, [1, 2, 3, 4]), models, SETTINGS))

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(process, range(16))) == [4] * 16
    assert most <= 2 * 1


def test_rows_are_tagged_and_have_the_windows_of_their_elements() -> None:
    models = Models([model(CLASSIFIER), model(EMBEDDER)])
    recipes = tuple(each.recipe for each in models)
    dofn = ProcessRows(recipes, SETTINGS)
    dofn._models = models
    data = drawn.encode(np.full((32, 32, 3), 51, np.uint8), "png")
    elements: list[Any] = [
        (tuple(ImageRef("a")), data, 7, (GlobalWindow(),)),
        (tuple(ImageRef("b")), b"?", 8, None),
    ]
    found = {(each.tag, each.value.value.uri): each.value for each in dofn.process((0, elements), "window")}
    assert set(found) == {("predictions", "a"), ("embeddings", "a"), ("failures", "b")}
    row = found["predictions", "a"]
    assert (row.value.label, row.value.width, row.value.run_id) == ("a", 32, "r1")
    assert [each.label for each in row.value.top_k] == ["a", "b", "c"]
    assert row.windows == (GlobalWindow(),)
    assert found["failures", "b"].windows == ("window",)
    assert found["failures", "b"].value.failed_at.endswith("+00:00")
