"""What killed runs left: reports that still say ``running``, and half-written files. Done by whoever has the lock."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from typing import TextIO

from transforms.errors import BeamsightError, FetchError, NotFound
from transforms.storage import files
from transforms.tables import layout

KILLED = "was killed; what it had finished is kept, and not counted here"

_REPORTS = 100  # that are looked at, the newest: each night that ends well leaves none of the others open
_OURS = re.compile(r"lock-clock-[0-9a-f]{16}\.tmp|\.writable-[0-9a-f]{8}")  # written for a moment, to try something


def close_killed(output: str, run_id: str) -> list[str]:
    """Have the reports of runs that never ended say so -> their ids. run_id: ours, which has not ended either."""
    names = sorted(stat.uri for stat in files.walk(layout.folder(output, "runs")) if stat.uri.endswith(".json"))
    closed = []
    for uri in names[-_REPORTS:]:
        try:
            report = json.loads(files.read(uri)[0])
            if report["state"] != "running" or report["run_id"] == run_id:
                continue
        except (FetchError, ValueError, TypeError, KeyError):
            continue  # not one of ours
        report |= {"state": "failed", "error": KILLED}
        files.write(uri, (json.dumps(report, indent=2, ensure_ascii=False) + "\n").encode())
        closed.append(str(report["run_id"]))
    return closed


def clean(output: str, since: datetime, stream: TextIO) -> None:
    """Remove what nobody writes any more: half-written files last touched before ``since``, when the lock was taken.

    Files of the tables are never among them: they are whole, and history, whatever became of the run that wrote them.
    What cannot be removed stays until the next run; the run at hand is no worse for it.
    """
    removed = 0
    try:
        for uri in _left(output):
            with suppress(NotFound):
                if files.written_at(uri) < since:
                    files.delete(uri)
                    removed += 1
    except BeamsightError as error:
        stream.write(f"beamsight: what killed runs left could not all be removed: {error}\n")
    if removed:
        stream.write(
            f"beamsight: removed {removed:,} half-written file{'s' * (removed > 1)} of runs that were killed\n"
        )


def _left(output: str) -> Iterator[str]:
    top = files.join(output, "")
    yield from files.half_written(top, recursive=False)
    yield from (stat.uri for stat in files.walk(top, recursive=False) if _OURS.fullmatch(files.name(stat.uri)))
    for folder in layout.FOLDERS:
        yield from files.half_written(layout.folder(output, folder))
