"""Merge the files of a key index, so that a year of nights has tens of files and not thousands."""

from __future__ import annotations

import dataclasses
import hashlib
from collections import deque
from collections.abc import Iterable, Iterator, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from transforms.tables import key_index
from transforms.tables.key_index import IndexFile, KeyIndex

FAN_IN = 10  # files of one level, which are merged into the next level


def merge(output: str, table: str) -> int:
    """Merge the files of each level that has ``FAN_IN`` files. Return the number of merged files.

    The new files are complete before the old ones are deleted. If this is interrupted, both remain until the next
    call, and are read as one set.
    """
    index = KeyIndex(output, table)
    replaced = {name for each in index.files for name in each.replaces}
    key_index.delete(output, table, [each.name for each in index.files if each.name in replaced])
    current = [each for each in index.files if each.name not in replaced]
    merged = 0
    for level in range(max((each.level for each in current), default=-1) + 1):
        sources = [each for each in current if each.level == level]
        runs = sum(1 for each in sources if level == 0 or each.table_files)  # siblings of one merge are one run
        if runs < FAN_IN:
            continue
        current = [each for each in current if each not in sources] + list(_merge(output, index, sources, level + 1))
        key_index.delete(output, table, [each.name for each in sources])
        merged += len(sources)
    return merged


def _merge(output: str, index: KeyIndex, sources: Sequence[IndexFile], level: int) -> Iterator[IndexFile]:
    names = tuple(each.name for each in sources)
    table_files = sum(each.table_files for each in sources)
    stem = hashlib.sha256("\n".join(sorted(names)).encode()).hexdigest()[:16]
    about = IndexFile(stem, level=level)
    pieces = key_index.split(_merge_sorted(index, sources), key_index.FILE_ROWS)
    written = []
    for number, keys in enumerate(pieces):
        written.append(dataclasses.replace(about, name=f"{stem}-{number:04}"))
        key_index.put(output, index.table, keys, written[-1])
    # The last step makes the new files replace the old ones: one of them gets their names and their count.
    total = dataclasses.replace(written[0], table_files=table_files, replaces=names)
    key_index.replace_about(output, index.table, total)
    yield from (total, *written[1:])


def _merge_sorted(index: KeyIndex, sources: Iterable[IndexFile]) -> Iterator[pa.Table]:
    """Yield the keys of some files, sorted. Only the files around the current URI are open, and no part is read early.

    The files of one earlier merge do not overlap. So about one of each is in memory, however many there are.
    """
    waiting = deque(sorted(sources, key=lambda each: each.first))
    held: list[tuple[pa.Table, Iterator[pa.Table]]] = []  # a piece of each open file, and the rest of the file
    while waiting or held:
        end = min((piece["uri"][-1].as_py() for piece, _ in held), default=None)
        while waiting and (end is None or waiting[0].first <= end):
            rest = index.read_sorted(waiting.popleft())
            held.append((next(rest), rest))
            last = held[-1][0]["uri"][-1].as_py()
            end = last if end is None else min(end, last)
        ready = []
        following = []
        for piece, rest in held:
            count = pc.sum(pc.less_equal(piece["uri"], end)).as_py()
            ready.append(piece.slice(0, count))
            remaining = piece.slice(count) if count < piece.num_rows else next(rest, None)
            if remaining is not None:
                following.append((remaining, rest))
        held = following
        yield key_index.sort_keys(pa.concat_tables(ready))
