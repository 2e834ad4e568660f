"""Everything that a page tells of a night, read from the output once and in bounded memory.

What is read of millions of rows: all that are written where a few numbers of each do (up to ``FILES`` files), and
elsewhere the first files by a hash of their names.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from beamsight.reports import classes, duplicates, examples, failures, findings, parts, totals, vectors
from beamsight.reports.classes import Tally
from beamsight.reports.duplicates import Exact
from beamsight.reports.examples import Samples
from beamsight.reports.failures import Reason
from beamsight.reports.findings import Evidence, Finding
from beamsight.reports.runs import Nights
from beamsight.reports.totals import Totals, Written

FILES = 2048  # of a night: a million images in units of 512
FILES_BEFORE = 64  # of each night before
CLASSES = 10


@dataclass(frozen=True, slots=True)
class Table:
    """A table that the night wrote to: its name, the model's metadata, and the rows that were added."""

    name: str
    model: Mapping[str, str]
    rows: int


@dataclass(frozen=True, slots=True)
class ClassRow:
    """A class of the night. shares: of each of the nights up to it, 0..1; None where there is none to compare with.

    before: the mean share on the nights before; None likewise.
    """

    label: str
    count: int
    share: float
    before: float | None
    shares: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class Predictions:
    """A night's main predictions table. before: the sums over the nights before, of the same table."""

    table: str
    tally: Tally
    before: Tally
    files: int
    files_read: int
    rows: tuple[ClassRow, ...]


@dataclass(frozen=True, slots=True)
class Night:
    """What a page shows. days: the sums by day, the last being the night's own day."""

    output: str
    nights: Nights
    run_id: str | None
    totals: Totals
    written: Mapping[str, Written]
    days: Mapping[date, Totals | None]
    tables: tuple[Table, ...]
    reasons: tuple[Reason, ...]
    predictions: Predictions | None
    embeddings: str | None
    samples: Samples
    exact: Exact
    exact_files: tuple[int, int]
    findings: tuple[Finding, ...]
    made: datetime


def read(output: str, nights: Nights, run_id: str | None, made: datetime) -> Night:
    """The runs that were chosen -> all there is to tell of them. run_id: where one run was asked for."""
    written = totals.written_by_unfinished(output, nights.recent)
    now = totals.of_runs(nights.chosen, written)
    days = totals.by_day(nights, written)
    predicted, predictions_uris = _main(output, nights, "predictions")
    embedded, embeddings_uris = _main(output, nights, "embeddings")
    sample = (
        vectors.sample(embeddings_uris) if embeddings_uris else vectors.sample(predictions_uris, with_vectors=False)
    )
    predictions = None
    if predicted:
        predictions = _predictions(output, nights, predicted, predictions_uris, [image.key for image in sample.images])
    shown = examples.show(sample, predictions.tally.best if predictions else {})
    named = predictions_uris or embeddings_uris
    before = [days[day] for day in nights.days()[:-1]]
    evidence = Evidence(
        nights=nights,
        now=now,
        before=[total for total in before if total],
        missed=_missed(nights.days()[:-1], before),
        tally=predictions.tally if predictions else None,
        tally_before=predictions.before if predictions else None,
        vectors=len(sample.images),
        health=shown.health,
    )
    return Night(
        output=output,
        nights=nights,
        run_id=run_id,
        totals=now,
        written=written,
        days=days,
        tables=_tables(nights, written),
        reasons=tuple(failures.of_runs(output, nights.day, {run.run_id for run in nights.chosen})),
        predictions=predictions,
        embeddings=embedded,
        samples=shown,
        exact=duplicates.exact(named[:FILES]),
        exact_files=(min(len(named), FILES), len(named)),
        findings=tuple(findings.find(evidence)),
        made=made,
    )


def _main(output: str, nights: Nights, kind: str) -> tuple[str | None, list[str]]:
    """The table of a kind that the runs wrote most files to, the newest of equals, and these files."""
    of_day = {run.run_id for run in nights.recent if run.day == nights.day}
    chosen = {run.run_id for run in nights.chosen}
    found: tuple[str | None, list[str]] = None, []
    for table in dict.fromkeys(table for run in reversed(nights.chosen) for table in run.tables(kind)):
        uris = parts.of_day(output, table, nights.day)
        if chosen != of_day:
            uris = parts.of_runs(uris, chosen)
        if len(uris) > len(found[1]):
            found = table, uris
    return found


def _predictions(
    output: str, nights: Nights, table: str, uris: Sequence[str], wanted: Sequence[classes.Key]
) -> Predictions:
    tally = classes.tally(uris[:FILES], wanted)
    by_day: dict[date, Tally] = {}
    together = Tally()
    for day in nights.days()[:-1]:
        if any(run.day == day and table in run.models for run in nights.recent):
            by_day[day] = classes.tally(parts.of_day(output, table, day)[:FILES_BEFORE])
            together.add(by_day[day])
    compared = {day: found for day, found in by_day.items() if found.rows}
    rows = []
    for class_id, count in sorted(tally.classes.items(), key=lambda pair: (-pair[1], pair[0]))[:CLASSES]:
        earlier = [compared[day].share(class_id) if day in compared else None for day in nights.days()[:-1]]
        known = [share for share in earlier if share is not None]
        share = tally.share(class_id)
        before = sum(known) / len(known) if known else None
        rows.append(ClassRow(tally.labels[class_id], count, share, before, (*earlier, share)))
    return Predictions(table, tally, together, len(uris), min(len(uris), FILES), tuple(rows))


def _tables(nights: Nights, written: Mapping[str, Written]) -> tuple[Table, ...]:
    rows: Counter[str] = Counter()
    for run in nights.chosen:
        rows.update(run.ok if run.done else written[run.run_id].rows)
    models = {table: model for run in nights.chosen for table, model in run.models.items()}
    return tuple(Table(table, model, rows[table]) for table, model in models.items())


def _missed(days: Sequence[date], before: Sequence[Totals | None]) -> list[date]:
    """Days without a run, after the first one with one."""
    first = next((place for place, total in enumerate(before) if total), len(days))
    return [day for day, total in zip(days[first:], before[first:], strict=True) if total is None]
