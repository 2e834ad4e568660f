"""Download the ranges of an object ahead of their consumer."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice

PIECE = 8 << 20  # bytes in a request
AHEAD = 4  # requests at once: 32 MiB in memory


def pieces(size: int, download: Callable[[int, int], bytes]) -> Iterator[bytes]:
    """Yield the bytes of an object in order, while the ranges that follow are downloaded.

    Args:
        size: The number of bytes of the object.
        download: Returns the bytes from one place up to another. Its exception is raised here; downloads in progress
            then end by themselves.
    """
    ranges = iter([(start, min(start + PIECE, size)) for start in range(0, size, PIECE)])
    if size <= PIECE:
        yield from (download(*each) for each in ranges)
        return
    pool = ThreadPoolExecutor(AHEAD, thread_name_prefix="ahead")
    try:
        pending: deque[Future[bytes]] = deque(pool.submit(download, *each) for each in islice(ranges, AHEAD))
        while pending:
            yield pending.popleft().result()
            pending.extend(pool.submit(download, *each) for each in islice(ranges, 1))
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
