"""The Beam graph. It reads image sources, and writes predictions, vectors, failures and a run report.

Prepare -> Missing -> Units -> Process -> Publish -> Report. Only refs, names and sums are shuffled, never bytes, pixels
or vectors.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import apache_beam as beam

from pipelines import publish
from pipelines.missing import TALLY, Limit, Missing, Units
from pipelines.options import CatalogOptions
from pipelines.processing import ProcessUnits
from transforms import counts
from transforms.counts import Tally
from transforms.history import unfinished

WriteReport = Callable[[Tally], None]


class Catalog(beam.PTransform):
    """Pipeline -> the sums of the whole run, as the only element, after everything is published.

    Args:
        options: The options of the graph.
        write_report: Called once with the sums.
    """

    def __init__(self, options: CatalogOptions, write_report: WriteReport) -> None:
        super().__init__()
        self._options = options
        self._write_report = write_report

    def expand(self, pipeline: beam.Pipeline) -> Any:
        options = self._options
        prepared = pipeline | "Prepare" >> publish.Prepare(options.tables, options.settings)
        missing = pipeline | "Missing" >> Missing(options, [beam.pvalue.AsIter(prepared)])
        work, tallies = missing.work, [prepared, missing[TALLY]]
        if options.limit is not None:
            limited = work | "Limit" >> Limit(options.limit, options)
            work, tallies = limited.work, [*tallies, limited[TALLY]]
        units = work | "Units" >> Units(options)
        process = beam.ParDo(ProcessUnits(options))
        if options.accelerator is not None:
            process = process.with_resource_hints(accelerator=options.accelerator)
        done = units | "Process" >> process.with_outputs(ProcessUnits.TALLY, main="files")
        published = done.files | "Publish" >> publish.Publish(options.tables, options.settings)
        report = _Report(self._write_report, options.settings.output)
        return (*tallies, done[ProcessUnits.TALLY], published) | "Report" >> report


def build(pipeline: beam.Pipeline, options: CatalogOptions, write_report: WriteReport) -> None:
    """Add the job of the command to a pipeline. Its steps have no label in common, so that a console shows them all."""
    Catalog(options, write_report).expand(pipeline)


def count(pipeline: beam.Pipeline, options: CatalogOptions) -> None:
    """Add only the steps of the job that count the missing images. Nothing is processed or written."""
    _ = pipeline | "Missing" >> Missing(options, [])


class _Report(beam.PTransform):
    """Tallies of all steps -> their sum, after one call of ``write_report`` with it."""

    def __init__(self, write_report: WriteReport, output: str) -> None:
        super().__init__()
        self._write_report = write_report
        self._output = output

    def expand(self, tallies: tuple[beam.PCollection, ...]) -> Any:
        return (
            tallies
            | "All counts" >> beam.Flatten()
            | "Sum" >> beam.CombineGlobally(counts.total)
            | "Write" >> beam.Map(_finish, self._write_report, self._output)
        )


def _finish(tally: Tally, write_report: WriteReport, output: str) -> Tally:
    unfinished.clear(output)
    write_report(tally)
    return tally
