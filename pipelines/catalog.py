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
from transforms import counts
from transforms.counts import Tally
from transforms.history import unfinished
from transforms.process import ProcessUnits

WriteReport = Callable[[Tally], None]


def build(pipeline: beam.Pipeline, options: CatalogOptions, write_report: WriteReport) -> None:
    """Add the job to a pipeline.

    Args:
        pipeline: The pipeline.
        options: The options of the graph.
        write_report: Called once with the sums of the whole run, after all units.
    """
    prepared = pipeline | "Prepare" >> publish.Prepare(options.tables, options.settings)
    missing = pipeline | "Missing" >> Missing(options, [beam.pvalue.AsIter(prepared)])
    work, tallies = missing.work, [prepared, missing[TALLY]]
    if options.limit is not None:
        limited = work | "Limit" >> Limit(options.limit, options.settings.run_id)
        work, tallies = limited.work, [*tallies, limited[TALLY]]
    units_ = work | "Units" >> Units(options)
    process = beam.ParDo(ProcessUnits(options.recipes, options.settings))
    done = units_ | "Process" >> process.with_outputs(ProcessUnits.TALLY, main="files")
    published = done.files | "Publish" >> publish.Publish(options.tables, options.settings)
    _ = (*tallies, done[ProcessUnits.TALLY], published) | "Report" >> _Report(write_report, options.settings.output)


def count(pipeline: beam.Pipeline, options: CatalogOptions) -> None:
    """Add only the steps of the job that count the missing images. Nothing is processed or written."""
    _ = pipeline | "Missing" >> Missing(options, [])


class _Report(beam.PTransform):
    """Tallies of all steps -> one call of ``write_report``."""

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


def _finish(tally: Tally, write_report: WriteReport, output: str) -> None:
    unfinished.clear(output)
    write_report(tally)
