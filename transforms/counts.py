"""What is counted, named once. Sums are plain ``Counter``s, so that adding them up needs no code.

Keys with a part behind a slash are a family: ``failed/decode`` counts the failures of the stage ``decode``.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable

from apache_beam.metrics import Metrics

LISTED = "listed"
IGNORED = "ignored"
DUPLICATES = "duplicates"
DONE_BEFORE = "done before"  # images that no table lacks
FAILED_BEFORE = "failed before"  # images that a table lacks for good, by what failed in earlier runs
MISSING = "missing"  # images that this run has to do
IMAGES = "images"  # images that this run has finished with, well or not
OK = "ok"  # by table
FAILED = "failed"  # by stage
REASON = "reason"  # by stage and class of error
BYTES = "bytes"
UNITS = "units"
NANOSECONDS = "ns"  # by step, summed over threads

Tally = Counter[str]


def key(name: str, part: str) -> str:
    """Family and member -> key."""
    return f"{name}/{part}"


def family(tally: Tally, name: str) -> dict[str, int]:
    """The members of a family with their sums, greatest first."""
    start = f"{name}/"
    return {full[len(start) :]: count for full, count in tally.most_common() if full.startswith(start)}


def total(tallies: Iterable[Tally]) -> Tally:
    """Sums over tallies; the combiner of the run report."""
    result: Tally = Counter()
    for tally in tallies:
        result.update(tally)
    return result


class Live:
    """The sums of this process so far, for a progress line beside a pipeline that runs in it. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tally: Tally = Counter()

    def add(self, tally: Tally) -> None:
        with self._lock:
            self._tally.update(tally)

    def snapshot(self) -> Tally:
        with self._lock:
            return self._tally.copy()

    def reset(self) -> None:
        with self._lock:
            self._tally.clear()


LIVE = Live()


def publish(tally: Tally) -> None:
    """Add a tally to Beam's counters, where a Dataflow console shows them."""
    for name, count in tally.items():
        Metrics.counter("beamsight", name).inc(count)
