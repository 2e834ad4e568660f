from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from pictures import LOSSLESS, LOSSY, PICTURE, SMOOTH, sample

from transforms.imaging import drawn, slots


@pytest.mark.parametrize("name", [*LOSSLESS, *LOSSY])
def test_the_size_is_read_from_every_header(name: str) -> None:
    height, width, _ = (SMOOTH if name in LOSSY else PICTURE).shape
    found = slots.pixels_in_memory(sample(name))
    # libheif and x265 pad the stored image to even sides or whole blocks.
    assert width * height <= found <= (64 * 64 * 2 if name == "heic" else width * height)


def test_what_has_no_header_is_small() -> None:
    for data in (b"", b"text", *(sample(name)[:9] for name in (*LOSSLESS, *LOSSY))):
        assert slots.pixels_in_memory(data) == 0


@pytest.mark.parametrize(("min_side", "pixels"), [(None, 640 * 480), (240, 320 * 240), (60, 80 * 60)])
def test_a_jpeg_counts_at_the_size_of_its_decode(min_side: int | None, pixels: int) -> None:
    picture = drawn.draw(1, 640, 480)
    assert slots.pixels_in_memory(drawn.encode(picture), min_side) == pixels
    assert slots.pixels_in_memory(drawn.encode(picture, progressive=True), min_side) == 640 * 480


def test_a_large_image_waits_without_a_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots, "LARGE", 48 * 40 - 1)
    monkeypatch.setattr(slots, "_slots", threading.BoundedSemaphore(2))
    large, small = sample("png"), drawn.encode(drawn.draw(1, 8, 8))
    held = threading.Barrier(2)
    leave = threading.Event()

    def hold() -> None:
        with slots.reserve(large):
            held.wait(10)
            assert leave.wait(60)

    def wait() -> None:
        with slots.reserve(large):
            assert leave.is_set()

    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(hold)
        held.wait(10)
        others = [pool.submit(wait) for _ in range(3)]
        with slots.reserve(small):  # of two slots, one is free: the waiting images hold none
            leave.set()
        for future in (first, *others):
            future.result()
