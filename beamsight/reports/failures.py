"""The failures table of a day: counts and examples by reason, and all failures of a run."""

from __future__ import annotations

import heapq
import shlex
import shutil
import sys
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from functools import partial
from typing import Any

from beamsight.reports import parts, runs
from transforms.prefetch import prefetch
from transforms.tables import layout, reader

EXAMPLES = 3  # for each reason

_WINDOW = 4  # files in memory: up to 250,000 rows each
_BATCH = 8_192  # rows that are Python objects at once

_COLUMNS = ("uri", "stage", "error", "message", "retryable", "run_id")


@dataclass(frozen=True, slots=True)
class Example:
    """An image that failed, and its error message."""

    uri: str
    message: str


@dataclass(frozen=True, slots=True)
class Reason:
    """Failures with the same stage and error class. retryable: the number of them that the next run tries again."""

    stage: str
    error: str
    count: int
    retryable: int
    examples: tuple[Example, ...]


def read(output: str, days: Iterable[date], run_ids: Collection[str], max_rows: int | None = None) -> list[Reason]:
    """Return the failures of runs by reason, the most frequent reason first.

    Args:
        output: The folder of the tables.
        days: The days of the partitions.
        run_ids: The runs.
        max_rows: Read only the first files with together about so many rows. The default is all files of these days.

    Returns:
        Reasons with up to ``EXAMPLES`` examples each. A hash of the URI chooses the examples, so that each call
        returns the same ones.

    Raises:
        FetchError: The table cannot be read.
    """
    counts: defaultdict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])
    examples: defaultdict[tuple[str, str], list[tuple[bytes, Example]]] = defaultdict(list)
    uris = parts.list_days(output, layout.FAILURES, days)
    for row in _rows(uris if max_rows is None else parts.first(uris, max_rows), run_ids):
        key = row["stage"], row["error"]
        counts[key][0] += 1
        counts[key][1] += row["retryable"]
        ranked = (parts.rank(row["uri"]), Example(row["uri"], row["message"]))
        examples[key] = heapq.nsmallest(EXAMPLES, [*examples[key], ranked], key=lambda pair: pair[0])
    reasons = [
        Reason(stage, error, count, retryable, tuple(example for _, example in examples[stage, error]))
        for (stage, error), (count, retryable) in counts.items()
    ]
    return sorted(reasons, key=lambda reason: (-reason.count, reason.stage, reason.error))


def _rows(uris: Sequence[str], run_ids: Collection[str]) -> Iterator[dict[str, Any]]:
    work = partial(reader.read, columns=_COLUMNS)
    for table in prefetch(uris, work, threads=_WINDOW, window=_WINDOW):
        for batch in table.to_batches(max_chunksize=_BATCH):
            yield from (row for row in batch.to_pylist() if row["run_id"] in run_ids)


def list_all(output: str, run_id: str) -> Iterator[dict[str, Any]]:
    """Yield the failures of a run: uri, stage, error, message, retryable and run_id, in any order.

    Raises:
        UsageError: There is no such run.
        FetchError: The table cannot be read.
    """
    (run,) = runs.select(output, run_id=run_id).runs
    return _rows(parts.list_days(output, layout.FAILURES, run.partitions), {run_id})


def list_command(output: str, run_id: str) -> str:
    """Return the shell command that lists all failures of a run."""
    python = sys.executable if shutil.which("python") != sys.executable else "python"
    return shlex.join([python, "-m", "beamsight.reports.list_failures", output, run_id])
