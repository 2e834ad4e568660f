"""The names of all counters, their sums and their metrics in Beam.

Sums are plain ``Counter`` objects. A key with a slash belongs to a family: ``failed/decode`` counts the failures of
the stage ``decode``.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable
from functools import cache
from typing import Any

LISTED = "listed"
IGNORED = "ignored"  # files in folders, and members of shards, that are no images
DUPLICATES = "duplicates"
DONE_BEFORE = "done before"  # images that no table lacks
FAILED_BEFORE = "failed before"  # images that a table lacks because they failed permanently
MISSING = "missing"  # images that this run has to process
LEFT = "left"  # missing images beyond --limit, which a later run processes
SHARDS = "shards"  # files that hold images
SHARDS_DONE = "shards done before"  # of these, those that need not be opened
IMAGES = "images"  # images that this run has processed, with or without a failure
OK = "ok"  # by table
FAILED = "failed"  # by stage
TRANSIENT = "transient"  # transient failures, which the next run tries again
REASON = "reason"  # by stage and class of error
BYTES = "bytes"
UNITS = "units"
PUBLISHED = "published"  # files
PUBLISHED_ROWS = "published rows"
LEFTOVER_ROWS = "leftover rows"  # published rows that earlier runs had finished
NANOSECONDS = "ns"  # by step, summed over threads
BATCHED = "batched"  # by task: images per call of a model

Tally = Counter[str]


def key(name: str, part: str) -> str:
    """Return the key of a member of a family."""
    return f"{name}/{part}"


def family(tally: Tally, name: str) -> dict[str, int]:
    """Return the members of a family with their sums, greatest first."""
    start = f"{name}/"
    return {full[len(start) :]: count for full, count in tally.most_common() if full.startswith(start)}


def total(tallies: Iterable[Tally]) -> Tally:
    """Return the sum of all tallies. The run report uses it as its combiner."""
    result: Tally = Counter()
    for tally in tallies:
        result.update(tally)
    return result


class Sums:
    """Sums that several threads add to. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tally: Tally = Counter()

    def add(self, tally: Tally) -> None:
        with self._lock:
            self._tally.update(tally)

    def snapshot(self) -> Tally:
        with self._lock:
            return self._tally.copy()


NAMESPACE = "beamsight"  # of the metrics in Beam

# The Dataflow console shows these names without an explanation.
_METRICS = {
    LISTED: "images_listed",
    IGNORED: "files_ignored",
    DUPLICATES: "skipped_named_twice",
    DONE_BEFORE: "skipped_done_before",
    FAILED_BEFORE: "skipped_failed_before",
    MISSING: "images_to_do",
    LEFT: "skipped_by_limit",
    SHARDS: "shards_listed",
    SHARDS_DONE: "shards_done_before",
    IMAGES: "images_done",
    TRANSIENT: "failed_for_now",
    BYTES: "bytes_fetched",
    UNITS: "units_done",
    PUBLISHED: "files_published",
    PUBLISHED_ROWS: "rows_published",
    LEFTOVER_ROWS: "rows_of_earlier_runs_published",
}
_FAMILIES = {OK: "rows_", FAILED: "failed_in_", REASON: "failed_"}
_STAGES = ("list", "fetch", "decode", "classify", "embed")


def metric(name: str) -> str:
    """Return the name of a key's metric in Beam: ``failed_in_decode`` for ``failed/decode``.

    Rows are counted per kind of table: ``rows_predictions``.
    """
    start, _, member = name.partition("/")
    if start == NANOSECONDS:
        return f"{member}_ms"
    if start == BATCHED:
        return f"{member}_batch_size"
    if start == OK:
        member = member.partition("/")[0]
    return _METRICS.get(name) or _FAMILIES[start] + member.replace("/", "_")


def keys_by_metric(tables: Iterable[str]) -> dict[str, str]:
    """Return the keys by the names of their metrics for a job that writes ``tables``, without the reasons."""
    families = (*(key(OK, table) for table in tables), *(key(FAILED, stage) for stage in _STAGES))
    return {metric(name): name for name in (*_METRICS, *families)}


def publish(tally: Tally) -> None:
    """Add a tally to the metrics in Beam, which the Dataflow console shows. Call it from the thread of a DoFn only.

    Times and batch sizes are distributions and get one measurement each. All others are counters.
    """
    for name, count in tally.items():
        start = name.partition("/")[0]
        if start == NANOSECONDS:
            _distribution(name).update(round(count / 1e6))
        elif start == BATCHED:
            _distribution(name).update(count)
        else:
            _counter(name).inc(count)


@cache
def _counter(name: str) -> Any:
    from apache_beam.metrics import Metrics  # takes seconds, which the child processes of a worker need not spend

    return Metrics.counter(NAMESPACE, metric(name))


@cache
def _distribution(name: str) -> Any:
    from apache_beam.metrics import Metrics

    return Metrics.distribution(NAMESPACE, metric(name))
