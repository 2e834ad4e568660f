"""Group missing work into units. One call of the DoFn processes a unit and writes one file per table."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from math import ceil
from typing import Any

from transforms import defaults
from transforms.records import ImageRef, Unit, Work

Plain = tuple[tuple[Any, ...], tuple[str, ...], int]  # a Work as it is shuffled


def number_of_units(missing: int, maximum: int = defaults.UNIT_SIZE, workers: int = 1) -> int:
    """Return the number of units for a number of missing images. Each worker gets one if there are enough images."""
    return max(ceil(missing / maximum), min(workers, missing))


def unit_size(missing: int, maximum: int = defaults.UNIT_SIZE, workers: int = 1) -> int:
    """Return the number of images in a unit, for units of equal size."""
    return ceil(missing / max(1, number_of_units(missing, maximum, workers))) or 1


class Cutter:
    """Cuts a stream of missing work into units of equal size.

    Args:
        size: The number of images in a unit.
        day: The logical day of images whose ref has none.
    """

    def __init__(self, size: int, day: str) -> None:
        self._size, self._day = size, day
        self._held: defaultdict[str, list[Work]] = defaultdict(list)  # by day, less than a unit each

    def add(self, work: Iterable[Plain]) -> Iterator[Unit]:
        """Take some work, and yield the units that are full."""
        for ref, tables, attempt in work:
            item = Work(ImageRef._make(ref), tuple(tables), attempt)
            held = self._held[item.ref.day or self._day]
            held.append(item)
            if len(held) == self._size:
                yield self._take(item.ref.day or self._day)

    def rest(self) -> Iterator[Unit]:
        """Yield units of what is left."""
        for day in sorted(self._held):
            yield self._take(day)

    def _take(self, day: str) -> Unit:
        return make_unit(self._held.pop(day), day)


def make_unit(work: Iterable[Work], day: str) -> Unit:
    """Return the unit of some work, in any order.

    Its name is a hash of the URIs, versions and tables; the names of tables contain the recipes. So a unit that is
    repeated in a run writes the same files, and no other unit writes to them.
    """
    ordered = sorted(work)
    digest = hashlib.sha256()
    for item in ordered:
        digest.update(json.dumps((item.ref.uri, item.ref.version, item.tables)).encode())
    return Unit(digest.hexdigest()[:20], tuple(ordered), day)
