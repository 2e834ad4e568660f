"""A thread pool that works ahead of a consumer within a bounded window."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def prefetch(items: Iterable[Item], work: Callable[[Item], Result], *, threads: int, window: int) -> Iterator[Result]:
    """Yield ``work(item)`` for each item as soon as it is ready, in any order, so that a slow file blocks no other.

    Threads suffice because ``work`` waits for the network and decodes in C, both without the interpreter's lock.

    Args:
        items: The items. They are consumed as the window moves on.
        work: The function to call. Its exception is raised here at once; calls in progress then end by themselves.
        threads: Number of concurrent calls.
        window: Maximum number of calls and results that wait for the consumer.
    """
    source = iter(items)
    pool = ThreadPoolExecutor(threads, thread_name_prefix="prefetch")
    try:
        pending: set[Future[Result]] = {pool.submit(work, item) for item in islice(source, window)}
        while pending:
            done, pending = wait(pending, return_when=FIRST_COMPLETED)
            while done:
                yield done.pop().result()  # popped, so that the consumer holds the only reference
                pending.update(pool.submit(work, item) for item in islice(source, 1))
    finally:
        # After an error nobody needs the calls in progress, which may wait for a storage for minutes.
        pool.shutdown(wait=False, cancel_futures=True)
