"""The contents of a page, read once from the output and in bounded memory.

Sums over a table read a few columns of about ``ROWS`` rows. Everything else comes from a sample: the first files by a
hash of their names.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from beamsight.reports import classes, duplicates, examples, failures, findings, parts, totals, vectors
from beamsight.reports.classes import Tally
from beamsight.reports.duplicates import ExactDuplicates
from beamsight.reports.examples import Samples
from beamsight.reports.failures import Reason
from beamsight.reports.findings import Evidence, Finding
from beamsight.reports.runs import Run, Selection
from beamsight.reports.totals import Totals, Written

ROWS = 1_000_000  # of the page's day
ROWS_BEFORE = 32_768  # of each earlier day; at least one file is read
CLASSES = 10  # in the table of classes


@dataclass(frozen=True, slots=True)
class Table:
    """A table that the runs wrote to: its name, the metadata of the model, and the number of new rows."""

    name: str
    model: Mapping[str, str]
    rows: int


@dataclass(frozen=True, slots=True)
class ClassRow:
    """A class in the table of classes.

    Attributes:
        share: Share of the day's images, 0..1.
        before: Mean share on the earlier days, 0..1; None without earlier days.
        shares: Share on each day of the charts, 0..1; None for a day without predictions.
    """

    label: str
    count: int
    share: float
    before: float | None
    shares: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class Predictions:
    """The main predictions table of the day. before: sums over the earlier days of the same table."""

    table: str
    tally: Tally
    before: Tally
    files: int
    files_read: int
    rows: tuple[ClassRow, ...]


@dataclass(frozen=True, slots=True)
class Page:
    """The contents of a page.

    Attributes:
        run_id: The run, if the page shows one run only.
        written: What unfinished runs wrote, by run ID.
        days: Sums for each day of the charts, oldest first; None for a day without a run.
        embeddings: The main embeddings table.
        exact_files: Files that were compared for exact duplicates, and all files.
    """

    output: str
    selection: Selection
    run_id: str | None
    totals: Totals
    written: Mapping[str, Written]
    days: Mapping[date, Totals | None]
    tables: tuple[Table, ...]
    reasons: tuple[Reason, ...]
    predictions: Predictions | None
    embeddings: str | None
    samples: Samples
    exact: ExactDuplicates
    exact_files: tuple[int, int]
    findings: tuple[Finding, ...]
    created: datetime


def read(output: str, selection: Selection, run_id: str | None, created: datetime) -> Page:
    """Read everything that a page shows. run_id: the run, if the page shows one run only."""
    written = totals.count_unfinished(output, selection.recent)
    now = totals.add_up(selection.runs, written)
    days = totals.add_up_by_day(selection, written)
    predicted, predictions_uris = _main(output, selection, "predictions")
    embedded, embeddings_uris = _main(output, selection, "embeddings")
    sample = (
        vectors.sample(embeddings_uris) if embeddings_uris else vectors.sample(predictions_uris, with_vectors=False)
    )
    predictions = None
    if predicted:
        predictions = _predictions(
            output, selection, predicted, predictions_uris, [image.key for image in sample.images]
        )
    shown = examples.build(sample, predictions.tally.best if predictions else {})
    named = predictions_uris or embeddings_uris
    compared = parts.first(named, ROWS)
    before = [days[day] for day in selection.days()[:-1]]
    evidence = Evidence(
        selection=selection,
        now=now,
        before=[total for total in before if total],
        missed=_missed(selection.days()[:-1], before),
        tally=predictions.tally if predictions else None,
        tally_before=predictions.before if predictions else None,
        vectors=len(sample.images),
        health=shown.health,
    )
    return Page(
        output=output,
        selection=selection,
        run_id=run_id,
        totals=now,
        written=written,
        days=days,
        tables=_tables(selection, written),
        reasons=tuple(failures.read(output, _partitions(selection.runs), {run.run_id for run in selection.runs})),
        predictions=predictions,
        embeddings=embedded,
        samples=shown,
        exact=duplicates.find_exact(compared),
        exact_files=(len(compared), len(named)),
        findings=tuple(findings.find_problems(evidence)),
        created=created,
    )


def _main(output: str, selection: Selection, kind: str) -> tuple[str | None, list[str]]:
    """Return the table of a kind with the most new rows, and their files. The newest of equal tables wins."""
    run_ids = {run.run_id for run in selection.runs}
    largest: tuple[str | None, list[str]] = None, []
    most = 0
    for table in dict.fromkeys(table for run in reversed(selection.runs) for table in run.tables(kind)):
        uris = parts.filter_by_run(parts.list_days(output, table, _partitions(selection.runs)), run_ids)
        rows = parts.count_rows(uris).total()
        if rows > most:
            largest, most = (table, uris), rows
    return largest


def _partitions(runs: Iterable[Run]) -> set[date]:
    return {day for run in runs for day in run.partitions}


def _predictions(
    output: str, selection: Selection, table: str, uris: Sequence[str], wanted: Sequence[classes.Key]
) -> Predictions:
    read_ = parts.first(uris, ROWS)
    tally = classes.tally(read_, wanted)
    by_day: dict[date, Tally] = {}
    combined = Tally()
    for day in selection.days()[:-1]:
        of_day = [run for run in selection.recent if run.day == day and table in run.models]
        if of_day:
            listed = parts.list_days(output, table, _partitions(of_day))
            written = parts.filter_by_run(listed, {run.run_id for run in of_day})
            by_day[day] = classes.tally(parts.first(written, ROWS_BEFORE))
            combined.add(by_day[day])
    compared = {day: sums for day, sums in by_day.items() if sums.rows}
    rows = []
    for class_id, count in sorted(tally.classes.items(), key=lambda pair: (-pair[1], pair[0]))[:CLASSES]:
        earlier = [compared[day].share(class_id) if day in compared else None for day in selection.days()[:-1]]
        known = [share for share in earlier if share is not None]
        share = tally.share(class_id)
        before = sum(known) / len(known) if known else None
        rows.append(ClassRow(tally.labels[class_id], count, share, before, (*earlier, share)))
    return Predictions(table, tally, combined, len(uris), len(read_), tuple(rows))


def _tables(selection: Selection, written: Mapping[str, Written]) -> tuple[Table, ...]:
    rows: Counter[str] = Counter()
    for run in selection.runs:
        rows.update(run.ok if run.done else written[run.run_id].rows)
    models = {table: model for run in selection.runs for table, model in run.models.items()}
    return tuple(Table(table, model, rows[table]) for table, model in models.items())


def _missed(days: Sequence[date], before: Sequence[Totals | None]) -> list[date]:
    """Return the days without a run after the first day with a run."""
    first = next((place for place, total in enumerate(before) if total), len(days))
    return [day for day, total in zip(days[first:], before[first:], strict=True) if total is None]
