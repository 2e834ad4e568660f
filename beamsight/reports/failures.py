"""The failures table -> what failed, by stage and reason, with a few examples of each."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from datetime import date
from functools import partial

from beamsight.reports import parts
from transforms.prefetch import prefetch
from transforms.tables import layout, reader

EXAMPLES = 3  # of each reason

_COLUMNS = ("uri", "stage", "error", "message", "retryable", "run_id")


@dataclass(frozen=True, slots=True)
class Example:
    """An image that failed, and what was said of it."""

    uri: str
    message: str


@dataclass(frozen=True, slots=True)
class Reason:
    """Failures of one stage and class of error. passing: how many of them the next run tries again."""

    stage: str
    error: str
    count: int
    passing: int
    examples: tuple[Example, ...]


def of_runs(output: str, day: date, run_ids: Collection[str]) -> list[Reason]:
    """The failures of runs, the most frequent reason first. Examples are chosen by a hash: always the same ones."""
    counts: defaultdict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])
    examples: defaultdict[tuple[str, str], list[tuple[bytes, Example]]] = defaultdict(list)
    uris = parts.of_day(output, layout.FAILURES, day)
    for table in prefetch(uris, partial(reader.read, columns=_COLUMNS), threads=parts.THREADS, window=parts.THREADS):
        for row in table.to_pylist():
            if row["run_id"] not in run_ids:
                continue
            key = row["stage"], row["error"]
            counts[key][0] += 1
            counts[key][1] += row["retryable"]
            found = (parts.order(row["uri"]), Example(row["uri"], row["message"]))
            examples[key] = heapq.nsmallest(EXAMPLES, [*examples[key], found], key=lambda pair: pair[0])
    reasons = [
        Reason(stage, error, count, passing, tuple(example for _, example in examples[stage, error]))
        for (stage, error), (count, passing) in counts.items()
    ]
    return sorted(reasons, key=lambda reason: (-reason.count, reason.stage, reason.error))
