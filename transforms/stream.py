"""Process images as a stream: fetch, decode, fit, and run the models in batches.

The command writes what comes out to the files of a unit, see ``transforms.process``. The PTransforms of the library
turn it into rows, see ``transforms.process_rows``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any, NamedTuple

from transforms import counts, defaults, machine
from transforms.counts import Tally
from transforms.errors import InferenceError
from transforms.imaging import fetch, opening, prepare
from transforms.imaging.fetch import Fetched
from transforms.imaging.isolated import IsolatedDecoder
from transforms.imaging.prepare import Failed, Limits, Prepared
from transforms.inference.concurrent import BatchResult, ConcurrentModels, Model
from transforms.inference.engine import Floats
from transforms.prefetch import prefetch
from transforms.records import Failure, ImageRef, Work
from transforms.run_state import RunState
from transforms.storage import files


class Input(NamedTuple):
    """An image to process.

    Attributes:
        work: The image and the tables to fill.
        data: The bytes of the image, or a function that reads them and may raise ImageError. None to read them from the
            URI.
        origin: Any value of the caller, which is returned with the results of the image.
    """

    work: Work
    data: bytes | Callable[[], bytes] | None = None
    origin: Any = None


class Answers(NamedTuple):
    """The outputs of one call of a model, float32[width] for each image."""

    model: Model
    images: list[Prepared]
    outputs: list[Floats]


class Stream:
    """Processes images with some models, and counts what happens.

    Args:
        models: The models. Each image goes to those whose table it lacks.
        state: The state of the run in this process.
        limits: Limits on the size of files and images.
        threads: Number of concurrent downloads. None for as many as keep the cores busy.
        window: Maximum number of images ahead of the models. None for as many as keep the models busy.
    """

    def __init__(
        self, models: list[Model], state: RunState, *, limits: Limits, threads: int | None, window: int | None = None
    ) -> None:
        self.tally: Tally = Counter()
        self._models = models
        self._state = state
        self._limits = limits
        # A core finishes 3 images a second at int8. Assumed: a download with its decoding takes 0.3 s at most.
        self._threads = threads or max(defaults.THREADS, machine.cores())
        # The next batch is prepared while the models process the current one.
        in_progress = max(model.engine.batch * model.engine.parallel for model in models)
        self._window = window or max(self._threads, 2 * in_progress)
        self._results: list[Answers | Failed] = []

    def process(self, inputs: Iterable[Input], suspects: frozenset[str] = frozenset()) -> Iterator[Answers | Failed]:
        """Yield the results of all images, in any order.

        Each image ends as an output of each of its models, or as one failure. If a model refuses it, it may have
        outputs of other models too. Memory does not depend on the number of images: at most ``window`` images are
        fetched ahead, each model collects one batch, and the number of waiting calls is bounded.

        Args:
            inputs: The images. They are consumed as the window moves on.
            suspects: URIs of images that are opened in a child process, because they may end the process.

        Raises:
            StorageDown: The storage of the images does not answer. Discard what was yielded.
            Stopped: The run has to stop.
        """
        specs = {model.recipe.table: model.recipe.spec for model in self._models}

        def prepare_image(image: Input) -> Prepared | Failed:
            def fetch_image(ref: ImageRef, max_bytes: int, timeout: float) -> Fetched:
                if image.data is not None:
                    return fetch.accept(ref, image.data, max_bytes)
                with self._state.outage.watch(ref.uri):
                    return fetch.fetch(ref, max_bytes, timeout)

            open_image = isolated if image.work.ref.uri in suspects else opening.open_image
            prepared = prepare.prepare(image.work, specs, self._limits, fetch_image, open_image)
            prepared.origin = image.origin
            return prepared

        with (
            IsolatedDecoder(self._limits.max_pixels) as isolated,
            ConcurrentModels(self._models, self._add_batch, self._state.stop.check) as inference,
        ):
            for image in prefetch(inputs, prepare_image, threads=self._threads, window=self._window):
                self._state.stop.check()
                self.count(image.tally)
                if isinstance(image, Failed):
                    self._add_failure(image)
                else:
                    inference.put(image)
                del image  # frees its pixels before the next image arrives
                yield from self._take()
            inference.finish()
        self._state.outage.require_answer(files.exists)
        yield from self._take()

    def count(self, tally: Tally) -> None:
        """Add to the counts of this stream, of the run, and of Beam."""
        self.tally.update(tally)
        self._state.live.add(tally)
        counts.publish(tally)  # now, so that the console shows progress within a unit

    def _take(self) -> list[Answers | Failed]:
        results, self._results = self._results, []
        return results

    def _add_batch(self, batch: BatchResult) -> None:
        """Add the results and the failures of one call of a model."""
        recipe = batch.model.recipe
        task = recipe.spec.task
        time_key, batch_key = counts.key(counts.NANOSECONDS, task), counts.key(counts.BATCHED, task)
        tally = Counter({time_key: batch.nanoseconds, batch_key: len(batch.images)})
        answers = Answers(batch.model, [], [])
        for image, output in zip(batch.images, batch.outputs, strict=True):
            if isinstance(output, InferenceError):
                output.version = image.version
                image.refused[recipe.table] = Failure.of(image.work._replace(tables=(recipe.table,)), output)
            else:
                answers.images.append(image)
                answers.outputs.append(output)
        if answers.images:
            self._results.append(answers)
            tally[counts.key(counts.OK, recipe.table)] += len(answers.images)
        for image in batch.images:
            image.unanswered -= 1
            if not image.unanswered:
                if image.refused:
                    self._add_failure(Failed(self._merge(image.refused), Counter(), image.origin))
                tally[counts.IMAGES] += 1
        self.count(tally)

    def _merge(self, refused: dict[str, Failure]) -> Failure:
        """Return one row for an image. If several models refuse it, the reason of the first table is kept.

        The order in which the models finish makes no difference.
        """
        tables = tuple(model.recipe.table for model in self._models if model.recipe.table in refused)
        retryable = any(failure.retryable for failure in refused.values())
        return replace(refused[tables[0]], tables=tables, retryable=retryable)

    def _add_failure(self, failed: Failed) -> None:
        failure = failed.failure
        self._results.append(failed)
        reason = counts.key(failure.stage, failure.error)
        self.count(Counter({counts.key(counts.FAILED, failure.stage): 1, counts.key(counts.REASON, reason): 1}))
        if failure.retryable:
            self.count(Counter({counts.TRANSIENT: 1}))
