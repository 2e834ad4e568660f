"""Run a pipeline in this process, and return the elements of its PCollections."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.direct.direct_runner import BundleBasedDirectRunner
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

Build = Callable[[beam.Pipeline], dict[str, Any]]

_numbers = itertools.count()
_found: defaultdict[int, list[Any]] = defaultdict(list)


class _Keep(beam.DoFn):
    """Pickled by reference, so that it appends to the list of this process."""

    def __init__(self, number: int) -> None:
        self._number = number

    def process(self, element: Any) -> Iterator[Any]:
        _found[self._number].append(element)
        yield from ()


def run(build: Build, *, runner: Any = None, streaming: bool = False) -> dict[str, list[Any]]:
    """Return the elements of the PCollections that ``build`` returns. Only the runner for streams has TestStream."""
    numbers = {}
    runner = runner or (BundleBasedDirectRunner() if streaming else FnApiRunner())
    with beam.Pipeline(runner, options=PipelineOptions(streaming=streaming)) as pipeline:
        for name, elements in build(pipeline).items():
            numbers[name] = next(_numbers)
            _ = elements | f"Keep {name}" >> beam.ParDo(_Keep(numbers[name]))
    return {name: _found.pop(number, []) for name, number in numbers.items()}
