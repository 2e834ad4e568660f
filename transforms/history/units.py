"""Group missing work into units. One call of the DoFn processes a unit and writes one file per table."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from math import ceil
from typing import Any

from transforms import defaults
from transforms.records import ImageRef, Unit, Work

Plain = tuple[tuple[Any, ...], tuple[str, ...], int]  # a Work as it is shuffled


def number_of_units(missing: int, unit_size: int = defaults.UNIT_SIZE, workers: int = 1) -> int:
    """Return the number of units for a number of missing images. Each worker gets one if there are enough images."""
    return max(ceil(missing / unit_size), min(workers, missing))


def assign(work: Iterable[Plain], units: int) -> Iterator[tuple[int, list[Plain]]]:
    """Assign work to units by the hash of the URI. Yield the number of each unit with its part of the work."""
    parts: defaultdict[int, list[Plain]] = defaultdict(list)
    for item in work:
        parts[zlib.crc32(item[0][0].encode()) % units].append(item)
    yield from parts.items()


def make_unit(parts: Iterable[Iterable[Plain]]) -> Unit:
    """Return the unit of all its parts, in any order.

    Its name is a hash of the URIs, versions and tables; the names of tables contain the recipes. So a unit that is
    repeated, in this run or a later one of the same day, writes the same files, and no other unit writes to them.
    """
    work = sorted(Work(ImageRef._make(ref), tuple(tables), attempt) for part in parts for ref, tables, attempt in part)
    digest = hashlib.sha256()
    for item in work:
        digest.update(json.dumps((item.ref.uri, item.ref.version, item.tables)).encode())
    return Unit(digest.hexdigest()[:20], tuple(work))
