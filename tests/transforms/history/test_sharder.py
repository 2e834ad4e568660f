"""Sharder: refs of a shard leave together, in large chunks, and none is lost."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transforms.history import subtract


@given(st.lists(st.text(max_size=3), max_size=100), st.integers(1, 9), st.integers(1, 30), st.integers(1, 3))
def test_each_ref_leaves_once_in_its_shard(uris: list[str], chunk: int, held: int, salts: int) -> None:
    sharder = subtract.Sharder((["a", "m"], salts), chunk, held)
    refs = [(uri, number) for number, uri in enumerate(uris)]
    parts = [*sharder.add(refs), *sharder.rest()]
    assert sorted(ref for _, part in parts for ref in part) == sorted(refs)
    assert all(0 < len(part) <= chunk for _, part in parts)
    assert len({(shard, uri) for shard, part in parts for uri, _ in part}) == len(set(uris))
    assert list(sharder.rest()) == []


@pytest.mark.parametrize(("ranges", "least"), [(1, 16_384), (61, 4_000)])
def test_chunks_of_a_million_refs_in_random_order_are_thousands(ranges: int, least: int) -> None:
    boundaries = [f"{number / ranges:.6f}" for number in range(1, ranges)]
    sharder = subtract.Sharder((boundaries, 1), 16_384)
    refs = (("%.6f" % (i * 7_919 % 1_000_000 / 1_000_000),) for i in range(1_000_000))
    sizes = [len(part) for _, part in sharder.add(refs)]
    sizes += [len(part) for _, part in sharder.rest()]
    assert sum(sizes) == 1_000_000
    assert sum(sizes) / len(sizes) >= least * 0.9
