"""Who is a copy of whom: by the bytes' hash in all that a night wrote, by the vectors in a sample of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from beamsight.reports import parts
from beamsight.reports.vectors import Floats, Image
from transforms.prefetch import prefetch
from transforms.tables import reader

NEAR = 0.98  # the cosine from which two images are called near-duplicates
NAMED = 4  # images of a group that are named

_GROUPS = 8  # the largest


@dataclass(frozen=True, slots=True)
class Copies:
    """Images with the same bytes: how many URIs, some of which are named."""

    count: int
    uris: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Exact:
    """images: distinct URIs that were looked at; copies: how many of them are one too many; groups: the largest."""

    images: int
    copies: int
    groups: tuple[Copies, ...]


@dataclass(frozen=True, slots=True)
class Near:
    """Images of a sample, by their index, each nearer than ``NEAR`` to another one, of other bytes."""

    members: tuple[int, ...]
    least: float
    greatest: float


def exact(uris: Sequence[str]) -> Exact:
    """The files of a table -> images that have the same bytes as others. Memory: 20 bytes a row."""
    marks: list[npt.NDArray[np.uint64]] = []
    source: list[npt.NDArray[np.uint32]] = []
    work = partial(_marks, uris=uris)
    for index, found in prefetch(range(len(uris)), work, threads=parts.THREADS, window=2 * parts.THREADS):
        marks.append(found)
        source.append(np.full(len(found), index, np.uint32))
    if not marks:
        return Exact(0, 0, ())
    every, origin = np.concatenate(marks), np.concatenate(source)
    every, first = np.unique(every, axis=0, return_index=True)  # a URI that was done in two versions counts once
    content, place, counts = np.unique(every[:, 0], return_inverse=True, return_counts=True)
    largest = [index for index in np.lexsort((content, -counts))[:_GROUPS] if counts[index] > 1]
    groups = []
    for index in largest:
        files = sorted({int(number) for number in origin[first[place == index]]})
        groups.append(Copies(int(counts[index]), _named(content[index], [uris[number] for number in files])))
    return Exact(len(every), int(len(every) - len(content)), tuple(groups))


def _marks(index: int, uris: Sequence[str]) -> tuple[int, npt.NDArray[np.uint64]]:
    """A file -> its place, and uint64[N, 2]: the beginning of the bytes' hash, and a hash of the URI."""
    table = reader.read(uris[index], ("uri", "sha256"))
    contents = bytes.fromhex("".join(digest[:16] for digest in table["sha256"].to_pylist()))
    names = b"".join(map(parts.order, table["uri"].to_pylist()))
    made = np.stack([np.frombuffer(data, ">u8").astype(np.uint64) for data in (contents, names)], axis=1)
    return index, made


def _named(content: np.uint64, uris: Sequence[str]) -> tuple[str, ...]:
    """Some URIs with these bytes, from as many of the files as it takes."""
    found: set[str] = set()
    for uri in uris:
        table = reader.read(uri, ("uri", "sha256"))
        pairs = zip(table["uri"].to_pylist(), table["sha256"].to_pylist(), strict=True)
        found |= {name for name, digest in pairs if digest.startswith(f"{int(content):016x}")}
        if len(found) >= NAMED:
            break
    return tuple(sorted(found)[:NAMED])


def near(images: Sequence[Image], cosines: Floats) -> list[Near]:
    """A sample and its cosines, float32[N, N] -> groups of images that look alike, the closest first.

    Copies of the same bytes are left to ``exact``: of them, one stands for all.
    """
    contents = np.unique([image.sha256 for image in images], return_inverse=True)[1]
    rows, columns = np.nonzero(np.triu(cosines >= NEAR, 1))
    apart = contents[rows] != contents[columns]
    above = list(range(len(images)))  # the way to the head of a group

    def root(index: int) -> int:
        while above[index] != index:
            above[index] = above[above[index]]
            index = above[index]
        return index

    pairs = list(zip(rows[apart].tolist(), columns[apart].tolist(), strict=True))
    for one, other in pairs:
        above[root(other)] = root(one)
    members: defaultdict[int, set[int]] = defaultdict(set)
    values: defaultdict[int, list[float]] = defaultdict(list)
    for one, other in pairs:
        members[root(one)] |= {one, other}
        values[root(one)].append(float(cosines[one, other]))
    groups = []
    for head, found in members.items():
        by_content = {contents[index]: index for index in sorted(found, reverse=True)}
        groups.append(Near(tuple(sorted(by_content.values())), min(values[head]), max(values[head])))
    return sorted(groups, key=lambda group: (-group.greatest, group.members))
