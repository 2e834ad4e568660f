"""Duplicate images: exact ones by the hash of their bytes, near-duplicates by the cosine of their vectors."""

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

NEAR = 0.98  # least cosine of two near-duplicates
NAMED = 4  # images that are named for each group

_GROUPS = 8  # groups that are named, the largest ones


@dataclass(frozen=True, slots=True)
class CopyGroup:
    """Images with the same bytes: their number, and up to ``NAMED`` of their URIs."""

    count: int
    uris: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ExactDuplicates:
    """Images with the same bytes.

    Attributes:
        images: Distinct images that were compared.
        copies: Images that repeat the bytes of another image.
        groups: The largest groups.
    """

    images: int
    copies: int
    groups: tuple[CopyGroup, ...]


@dataclass(frozen=True, slots=True)
class NearDuplicates:
    """A group of images, each with a cosine of at least ``NEAR`` to another one with different bytes.

    Attributes:
        members: Indices into the sample.
        least, greatest: Range of the cosines, -1..1.
    """

    members: tuple[int, ...]
    least: float
    greatest: float


def find_exact(uris: Sequence[str]) -> ExactDuplicates:
    """Find images with the same bytes in the files of a table. Takes 20 bytes of memory for each row."""
    pairs: list[npt.NDArray[np.uint64]] = []
    source: list[npt.NDArray[np.uint32]] = []
    work = partial(_hashes, uris=uris)
    for index, hashes in prefetch(range(len(uris)), work, threads=parts.THREADS, window=2 * parts.THREADS):
        pairs.append(hashes)
        source.append(np.full(len(hashes), index, np.uint32))
    if not pairs:
        return ExactDuplicates(0, 0, ())
    every, origin = np.concatenate(pairs), np.concatenate(source)
    every, first = np.unique(every, axis=0, return_index=True)  # A URI with two versions counts once.
    content, place, counts = np.unique(every[:, 0], return_inverse=True, return_counts=True)
    largest = [index for index in np.lexsort((content, -counts))[:_GROUPS] if counts[index] > 1]
    groups = []
    for index in largest:
        files = sorted({int(number) for number in origin[first[place == index]]})
        groups.append(CopyGroup(int(counts[index]), _named(content[index], [uris[number] for number in files])))
    return ExactDuplicates(len(every), int(len(every) - len(content)), tuple(groups))


def _hashes(index: int, uris: Sequence[str]) -> tuple[int, npt.NDArray[np.uint64]]:
    """Return the index of the file and uint64[N, 2]: 64 bits of the hash of the bytes, and a hash of the URI."""
    table = reader.read(uris[index], ("uri", "sha256"))
    contents = bytes.fromhex("".join(digest[:16] for digest in table["sha256"].to_pylist()))
    names = b"".join(map(parts.rank, table["uri"].to_pylist()))
    hashes = np.stack([np.frombuffer(data, ">u8").astype(np.uint64) for data in (contents, names)], axis=1)
    return index, hashes


def _named(content: np.uint64, uris: Sequence[str]) -> tuple[str, ...]:
    """Return up to ``NAMED`` URIs with these bytes. Reads no more files than necessary."""
    names: set[str] = set()
    for uri in uris:
        table = reader.read(uri, ("uri", "sha256"))
        pairs = zip(table["uri"].to_pylist(), table["sha256"].to_pylist(), strict=True)
        names |= {name for name, digest in pairs if digest.startswith(f"{int(content):016x}")}
        if len(names) >= NAMED:
            break
    return tuple(sorted(names)[:NAMED])


def find_near(images: Sequence[Image], cosines: Floats) -> list[NearDuplicates]:
    """Group the images of a sample that look alike, the greatest cosine first.

    ``find_exact`` reports images with the same bytes. A group here contains only one of them.

    Args:
        images: The sample.
        cosines: float32[N, N], -1..1.
    """
    contents = np.unique([image.sha256 for image in images], return_inverse=True)[1]
    rows, columns = np.nonzero(np.triu(cosines >= NEAR, 1))
    apart = contents[rows] != contents[columns]
    parent = list(range(len(images)))  # the parent of each image in a union-find forest

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    pairs = list(zip(rows[apart].tolist(), columns[apart].tolist(), strict=True))
    for one, other in pairs:
        parent[root(other)] = root(one)
    members: defaultdict[int, set[int]] = defaultdict(set)
    values: defaultdict[int, list[float]] = defaultdict(list)
    for one, other in pairs:
        members[root(one)] |= {one, other}
        values[root(one)].append(float(cosines[one, other]))
    groups = []
    for head, group in members.items():
        by_content = {contents[index]: index for index in sorted(group, reverse=True)}
        groups.append(NearDuplicates(tuple(sorted(by_content.values())), min(values[head]), max(values[head])))
    return sorted(groups, key=lambda group: (-group.greatest, group.members))
