"""Find the units of a task that a lost worker has finished already in this run.

A runner repeats the work of a lost worker from its beginning. A task of shards has many units, and most of them may be
finished. Their files are in the output, but not yet in the key index.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple

from transforms import counts
from transforms.counts import Tally
from transforms.errors import BeamsightError, Stopped
from transforms.history import unfinished
from transforms.records import ShardTask, Unit
from transforms.storage import files
from transforms.tables import layout, publish, reader
from transforms.tables.publish import UnitFile


class FinishedUnit(NamedTuple):
    """A unit whose images all have a row or a failure.

    Attributes:
        files: Its files.
        tally: Its counts.
        failures: Whether the failure is transient, by the URI of the image.
    """

    files: list[UnitFile]
    tally: Tally
    failures: dict[str, bool]


class FinishedUnits:
    """The units of a run that are finished, by name."""

    def __init__(self, unit_files: list[UnitFile]) -> None:
        self._files: dict[str, list[UnitFile]] = {}
        for unit_file in unit_files:
            self._files.setdefault(files.name(unit_file.uri).removesuffix(".parquet"), []).append(unit_file)

    def find(self, unit: Unit, *, ends_shards: bool) -> FinishedUnit | None:
        """Return what is written of a unit. None if a part of it is missing, so that it must be processed.

        Args:
            unit: The images.
            ends_shards: Whether the unit must have rows of shards.
        """
        found = self._files.get(unit.name, [])
        if not found or ends_shards > any(layout.is_of_shards(each.table) for each in found):
            return None
        written: list[UnitFile] = []
        covered: set[tuple[str, str]] = set()
        failures: dict[str, bool] = {}
        tally: Tally = Counter({counts.UNITS: 1, counts.IMAGES: len(unit.work)})
        for each in found:
            if each.table == layout.FAILURES:
                rows = reader.read(each.uri, ("uri", "tables", "stage", "error", "retryable"))
                for row in rows.to_pylist():
                    covered.update((row["uri"], table) for table in row["tables"])
                    failures[row["uri"]] = row["retryable"]
                    reason = counts.key(row["stage"], row["error"])
                    tally.update((counts.key(counts.FAILED, row["stage"]), counts.key(counts.REASON, reason)))
                    tally[counts.TRANSIENT] += row["retryable"]
            else:
                rows = reader.read(each.uri, ("uri",))
                if not layout.is_of_shards(each.table):
                    covered.update((uri, each.table) for uri in rows["uri"].to_pylist())
                    tally[counts.key(counts.OK, each.table)] += rows.num_rows
            written.append(each._replace(rows=rows.num_rows))
        needed = {(work.ref.uri, table) for work in unit.work for table in work.tables}
        return FinishedUnit(written, tally, failures) if needed <= covered else None


class Before(NamedTuple):
    """What happened to a task before.

    Attributes:
        finished: Its units that are finished. There are none if no worker of this run has begun the task.
        suspects: URIs of its shards that were in progress when a process died, in this run or in another one.
    """

    finished: FinishedUnits
    suspects: frozenset[str]


@contextmanager
def watch(output: str, run_id: str, task: ShardTask) -> Iterator[Before]:
    """Mark a task as in progress during a ``with`` block, and yield what happened to it before."""
    works = (*task.shards, *task.members)
    digest = hashlib.sha256(json.dumps([(work.ref.uri, work.ref.version, work.tables) for work in works]).encode())
    marker = layout.marker(output, run_id, f"task-{digest.hexdigest()[:20]}")
    uris = frozenset(shard.ref.uri for shard in task.shards)
    suspects = unfinished.left_by_other_runs(output, run_id)
    is_repeated = files.exists(marker)
    files.write(marker, json.dumps(sorted(uris)).encode())
    done = publish.list_leftovers(output).get(run_id, []) if is_repeated else []
    try:
        yield Before(FinishedUnits(done), uris if is_repeated else uris & suspects)
    except Stopped:
        _delete(marker)
        raise
    _delete(marker)


def _delete(marker: str) -> None:
    # A marker that remains makes the next run slower, and no other harm.
    with suppress(BeamsightError):
        files.delete(marker)
