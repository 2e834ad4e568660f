"""Files that ask for more memory or time than they may have, each decoded in a process of its own."""

from __future__ import annotations

import sys

import hostile_images
import pytest

GIGABYTE = 1_000_000_000
SECONDS = 10  # of CPU time, which does not depend on what else the machine does

NAMES = list(hostile_images.CORPUS)
GROUPS = 4  # A process starts for each, and workers of pytest share them.


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of a process is read from /proc")
@pytest.mark.parametrize("group", range(GROUPS))
def test_no_file_takes_a_gigabyte_or_ten_seconds(group: int) -> None:
    names = NAMES[group::GROUPS]
    measured = hostile_images.measure((name, hostile_images.CORPUS[name]()) for name in names)
    assert list(measured) == names
    failed = {
        name: found
        for name, found in measured.items()
        if not (found.get("peak", GIGABYTE) < GIGABYTE and found["seconds"] < SECONDS)
    }
    assert failed == {}
