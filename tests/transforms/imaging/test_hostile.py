"""Files that ask for more memory than they may have, each decoded in a process of its own."""

from __future__ import annotations

import sys

import hostile_images
import pytest

GIGABYTE = 1_000_000_000


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of a process is read from /proc")
@pytest.mark.parametrize("name", hostile_images.CORPUS)
def test_no_file_takes_a_gigabyte(name: str) -> None:
    measured = hostile_images.measure(hostile_images.CORPUS[name]())
    assert measured["peak"] < GIGABYTE, measured
