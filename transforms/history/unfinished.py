"""Find images that were in progress when a process died, because one of them may have killed it.

A unit writes a marker with its URIs when it starts, and deletes it when it ends. A marker remains only if the process
dies or its storage is down. The images in it are then decoded in a child process.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import lru_cache

from transforms.errors import BeamsightError, FetchError, NotFound, StorageDown
from transforms.records import Unit
from transforms.storage import files
from transforms.tables import layout

_REQUESTS = 16  # concurrent ones: a large job that was killed leaves a marker for each worker


@contextmanager
def mark(output: str, run_id: str, unit: Unit) -> Iterator[frozenset[str]]:
    """Mark a unit as in progress during a ``with`` block.

    Yields:
        The URIs of its images that were in progress when an earlier process died, in this run or in another one.
    """
    suspects = left_by_other_runs(output, run_id)
    marker = layout.marker(output, run_id, unit.name)
    uris = frozenset(work.ref.uri for work in unit.work)
    is_repeated = files.exists(marker)
    files.write(marker, json.dumps(sorted(uris)).encode())
    try:
        yield uris if is_repeated else uris & suspects
    except (StorageDown, FetchError):
        raise  # The request to delete the marker could wait for the same storage.
    except BaseException:
        _delete(marker)
        raise
    _delete(marker)


def clear(output: str) -> None:
    """Delete all markers, at the end of a run that processed all its units."""
    with suppress(BeamsightError), ThreadPoolExecutor(_REQUESTS) as pool:  # the next run tries again
        list(pool.map(_delete, (file.uri for file in files.walk(layout.markers(output), recursive=False))))


@lru_cache(maxsize=8)
def left_by_other_runs(output: str, run_id: str) -> frozenset[str]:
    """Return the URIs in the markers of other runs, which have ended: only one run works on an output."""
    left = (file.uri for file in files.walk(layout.markers(output), recursive=False))
    others = [marker for marker in left if not files.name(marker).startswith(f"{run_id}-")]
    with ThreadPoolExecutor(_REQUESTS) as pool:
        return frozenset().union(*pool.map(_read, others))


def _read(marker: str) -> frozenset[str]:
    # An incomplete marker is that of a unit that had not started.
    with suppress(NotFound, ValueError):
        return frozenset(json.loads(files.read(marker)[0]))
    return frozenset()


def _delete(marker: str) -> None:
    # A marker that remains makes the next run slower, and no other harm.
    with suppress(BeamsightError):
        files.delete(marker)
