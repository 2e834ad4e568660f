"""Clean up after killed runs: reports that still say ``running``, and incomplete files. Call it with the lock held."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from typing import TextIO

from beamsight.reports import run_report, runs
from beamsight.text import count
from transforms.errors import BeamsightError, NotFound
from transforms.storage import files
from transforms.tables import layout

KILLED = "the run was killed; its finished images are kept, but not counted in this report"

_REPORTS = 100  # Only the newest reports are read: each successful run closes all open ones.
# Probe files of the lock and of the check for write access.
_PROBES = re.compile(r"lock-clock-[0-9a-f]{16}\.tmp|\.writable-[0-9a-f]{8}")


def close_killed(output: str, run_id: str) -> list[str]:
    """Mark runs as failed whose reports still say ``queued`` or ``running``.

    Args:
        output: The folder of the tables.
        run_id: The run that holds the lock. Its report stays as it is.

    Returns:
        The IDs of the runs that were marked.
    """
    found, _ = runs.read_runs(sorted(runs.list_reports(output))[-_REPORTS:])
    killed = [run for run in found if run.state in ("queued", "running") and run.run_id != run_id]
    for run in killed:
        report = {**run.report, "state": "failed", "error": KILLED}
        run_report.put(report, layout.run_report(output, run.run_id))
    return [run.run_id for run in killed]


def clean(output: str, since: datetime, stream: TextIO) -> None:
    """Remove incomplete files that killed runs left. Complete files of the tables are never removed.

    Args:
        output: The folder of the tables.
        since: When this run took the lock. Only files that were last written before then are removed.
        stream: Receives the number of removed files. It also receives an error, which does not fail the run, because
            the next run tries again.
    """
    removed = 0
    try:
        for uri in _list_incomplete(output):
            with suppress(NotFound):
                if files.written_at(uri) < since:
                    files.delete(uri)
                    removed += 1
    except BeamsightError as error:
        stream.write(f"beamsight: could not remove all incomplete files of killed runs: {error}\n")
    if removed:
        stream.write(f"beamsight: removed {count(removed, 'incomplete file')} of killed runs\n")


def _list_incomplete(output: str) -> Iterator[str]:
    top = files.join(output, "")
    yield from files.half_written(top, recursive=False)
    yield from (stat.uri for stat in files.walk(top, recursive=False) if _PROBES.fullmatch(files.name(stat.uri)))
    for folder in layout.FOLDERS:
        yield from files.half_written(layout.folder(output, folder))
