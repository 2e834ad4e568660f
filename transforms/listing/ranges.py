"""Split a large source on gs:// or s3:// into ranges of keys that several workers can list.

The number of objects in a range is not known before they are listed. So the ranges come from a limited number of
requests, which look at names only where there are many.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice, pairwise

from transforms.errors import FetchError, NotFound, UsageError
from transforms.listing import sources
from transforms.storage import files, patterns
from transforms.storage.base import ALL_KEYS, KeyRange

PAGE = 5_000  # names: a range with fewer is not split
_PROBES = 16  # concurrent requests
_MOST_CUTS = 64  # of a range at once; names may have thousands of different characters at a position

First = Callable[[KeyRange, int], Sequence[str]]  # returns the first URIs of a range, sorted, at most this many


def split(source: str, wanted: int, page: int = PAGE) -> list[KeyRange]:
    """Return ranges of keys that together are the whole source: about ``wanted`` ones if it is large, else one.

    Args:
        source: A file, folder, glob or manifest.
        wanted: The number of ranges. With 1, no request is sent.
        page: A range with fewer objects than this is not split.

    Raises:
        FetchError: The source cannot be read.
    """
    uri = files.absolute(source)
    if wanted < 2 or not files.lists_ranges(uri) or _is_file(uri):
        return [ALL_KEYS]
    prefix = patterns.literal_prefix(uri) if patterns.has_magic(uri) else sources.as_folder(uri)

    def first(keys: KeyRange, count: int) -> list[str]:
        return [stat.uri for stat in islice(files.walk(prefix, keys=keys, page=count), count)]

    return between(find_boundaries(first, len(prefix), wanted, page))


def _is_file(uri: str) -> bool:
    """Return whether a source is one file, or is not readable. Its listing then gives the reason."""
    if uri.endswith("/"):
        return False
    try:
        files.stat(uri)
    except (NotFound, UsageError):
        return False
    except FetchError:
        return True
    return True


def between(boundaries: Sequence[str]) -> list[KeyRange]:
    """Return the ranges between sorted boundaries. Each URI is in one of them."""
    return [KeyRange(start or "", end) for start, end in pairwise([None, *boundaries, None])]


def find_boundaries(first: First, known: int, wanted: int, page: int = PAGE) -> list[str]:
    """Return boundaries between about ``wanted`` ranges that have at least ``page`` URIs, except the last ones.

    The URIs of a range are cut at the first character in which they differ: ``p/0``, ``p/1`` to ``p/9``, and then
    ``p/00`` to ``p/99``. The oldest range is split first, until there are enough.

    Args:
        first: Returns the first URIs of a range.
        known: The number of characters that all URIs have in common, or fewer.
        wanted: The number of ranges. One round of requests may find more.
        page: A range with fewer URIs than this is not split; at least 2.
    """
    waiting = deque([ALL_KEYS])
    boundaries: list[str] = []
    with ThreadPoolExecutor(_PROBES) as pool:
        while waiting and len(boundaries) + 1 < wanted:
            batch = [waiting.popleft() for _ in range(min(len(waiting), _PROBES))]
            for keys, cuts in zip(batch, pool.map(partial(_cut, first, known, page), batch), strict=True):
                boundaries += cuts
                if cuts:
                    waiting.extend(map(KeyRange, [keys.start, *cuts], [*cuts, keys.end]))
    return sorted(boundaries)


def _cut(first: First, known: int, page: int, keys: KeyRange) -> list[str]:
    """Return where to cut a range: after each page of URIs, at the next value of the first character that differs."""
    uris = first(keys, page)
    if len(uris) < page:
        return []
    least, common = uris[0], _common_prefix(first, known, keys, uris)
    last_group = uris[-1][: len(common) + 1]
    cuts: list[str] = []
    while len(uris) == page and len(cuts) < _MOST_CUTS:
        cut = _after(uris[-1][: len(common) + 1])
        if cut is None or (keys.end is not None and cut >= keys.end):
            break
        uris = first(KeyRange(cut, keys.end), page)
        if uris:
            cuts.append(cut)
    if not cuts and least < last_group:
        return [last_group]  # small groups, and then one that may be large
    return cuts


def _common_prefix(first: First, known: int, keys: KeyRange, uris: Sequence[str]) -> str:
    """Return the longest prefix that all URIs of a range have. ``uris`` are the first ones of them.

    All URIs have a prefix of the least one if no URI of the range comes after those with this prefix.
    """
    high = len(_shared(uris[0], uris[-1]))
    low = max(known, len(_shared(uris[0], keys.end or "")))  # all URIs before the end share this with it
    middle = high  # usually right
    while low < high:
        after = _after(uris[0][:middle])
        if after is not None and first(KeyRange(after, keys.end), 1):
            high = middle - 1
        else:
            low = middle
        middle = (low + high + 1) // 2
    return uris[0][:low]


def _shared(one: str, other: str) -> str:
    return os.path.commonprefix([one, other])  # noqa: RUF071 - characters, not folders


def _after(prefix: str) -> str | None:
    """Return the least string after all that start with ``prefix``. None if its last character is the last of all."""
    code = ord(prefix[-1]) + 1
    if 0xD800 <= code <= 0xDFFF:  # surrogates are not characters
        code = 0xE000
    return None if code > 0x10FFFF else prefix[:-1] + chr(code)
