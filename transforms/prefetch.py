"""Work ahead of a consumer in a bounded window of threads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def prefetch(items: Iterable[Item], work: Callable[[Item], Result], *, threads: int, window: int) -> Iterator[Result]:
    """Yield ``work(item)`` for each item, as they become ready and not in order: one slow file holds up no others.

    At most ``window`` results are in the making or wait to be taken; the consumer's pace sets the rest. Threads are
    right because ``work`` waits for the network and decodes in C, both without the interpreter's lock. An exception
    of ``work`` is raised here, after those under way have ended.
    """
    source = iter(items)
    with ThreadPoolExecutor(threads, thread_name_prefix="prefetch") as pool:
        pending: set[Future[Result]] = {pool.submit(work, item) for item in islice(source, window)}
        try:
            while pending:
                done, pending = wait(pending, return_when=FIRST_COMPLETED)
                while done:
                    yield done.pop().result()  # popped: a result that was taken is not held here any longer
                    pending.update(pool.submit(work, item) for item in islice(source, 1))
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
