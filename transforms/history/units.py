"""Missing work -> units: what one call of the DoFn does, and one file of each table holds."""

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

Plain = tuple[tuple[Any, ...], tuple[str, ...], int]  # a Work as it crosses the shuffle


def number_of_units(missing: int, unit_size: int = defaults.UNIT_SIZE, workers: int = 1) -> int:
    """How many units to make of so many missing images; a small job on many workers gets smaller ones."""
    return max(ceil(missing / unit_size), min(workers, missing))


def assign(work: Iterable[Plain], units: int) -> Iterator[tuple[int, list[Plain]]]:
    """Work of any kind of shard, as plain tuples -> (number of a unit, its part). The hash of the URI decides."""
    parts: defaultdict[int, list[Plain]] = defaultdict(list)
    for item in work:
        parts[zlib.crc32(item[0][0].encode()) % units].append(item)
    yield from parts.items()


def make_unit(parts: Iterable[Iterable[Plain]]) -> Unit:
    """All parts of a unit -> the unit, the same whatever the order.

    Its name is a hash of what it does: URIs, versions and the tables asked for, whose names hold the recipes. So a
    unit that is done again writes the same files again, also in a later attempt on the same day, and no other unit
    ever writes to them.
    """
    work = sorted(Work(ImageRef._make(ref), tuple(tables), attempt) for part in parts for ref, tables, attempt in part)
    digest = hashlib.sha256()
    for item in work:
        digest.update(json.dumps((item.ref.uri, item.ref.version, item.tables)).encode())
    return Unit(digest.hexdigest()[:20], tuple(work))
