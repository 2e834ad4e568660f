"""Work ahead: everything once, in a bounded window, whatever the pace."""

from __future__ import annotations

import threading
import time

import pytest

from transforms.prefetch import prefetch


@pytest.mark.parametrize("threads", [1, 4])
@pytest.mark.parametrize("window", [1, 3, 100])
def test_every_item_comes_once(threads: int, window: int) -> None:
    assert sorted(prefetch(range(50), lambda item: item * item, threads=threads, window=window)) == [
        item * item for item in range(50)
    ]


def test_nothing_to_do() -> None:
    assert list(prefetch([], str, threads=2, window=2)) == []


def test_no_more_than_the_window_is_ahead_of_a_slow_consumer() -> None:
    lock = threading.Lock()
    started = 0
    ahead = []

    def work(item: int) -> int:
        nonlocal started
        with lock:
            started += 1
        return item

    for taken, _ in enumerate(prefetch(range(40), work, threads=8, window=5), 1):
        time.sleep(0.002)  # long enough for the threads to run ahead, if they could
        with lock:
            ahead.append(started - taken)
    assert max(ahead) <= 5
    assert started == 40


def test_a_slow_item_does_not_block_the_others() -> None:
    others_done = threading.Event()

    def work(item: int) -> int:
        if item == 0:
            assert others_done.wait(30)
        return item

    results = []
    for result in prefetch(range(10), work, threads=2, window=4):
        results.append(result)
        if len(results) == 9:
            others_done.set()
    assert results[-1] == 0


def test_an_error_is_raised_and_remaining_items_are_not_started() -> None:
    begun = []

    def work(item: int) -> int:
        begun.append(item)
        if item == 3:
            raise RuntimeError("item 3")
        return item

    with pytest.raises(RuntimeError, match="item 3"):
        list(prefetch(range(1000), work, threads=2, window=4))
    assert len(begun) < 20


def test_a_consumer_that_stops_leaves_no_thread_behind() -> None:
    results = prefetch(range(1000), lambda item: item, threads=3, window=6)
    next(results)
    results.close()  # type: ignore[attr-defined]
    left = [thread for thread in threading.enumerate() if thread.name.startswith("prefetch")]
    for thread in left:  # they end as soon as their calls do
        thread.join(30)
    assert not any(thread.is_alive() for thread in left)
