"""Partitioner: refs of a part leave together, in large chunks, and none is lost."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transforms.history import subtract


@given(st.lists(st.text(max_size=3), max_size=100), st.integers(1, 9), st.integers(1, 30), st.integers(1, 3))
def test_each_ref_leaves_once_in_its_part(uris: list[str], chunk: int, held: int, salts: int) -> None:
    partitioner = subtract.Partitioner((["a", "m"], salts), chunk, held)
    refs = [(uri, number) for number, uri in enumerate(uris)]
    chunks = [*partitioner.add(refs), *partitioner.rest()]
    assert sorted(ref for _, chunk_ in chunks for ref in chunk_) == sorted(refs)
    assert all(0 < len(chunk_) <= chunk for _, chunk_ in chunks)
    assert len({(part, uri) for part, chunk_ in chunks for uri, _ in chunk_}) == len(set(uris))
    assert list(partitioner.rest()) == []


@pytest.mark.parametrize(("ranges", "least"), [(1, 16_384), (61, 4_000)])
def test_chunks_of_a_million_refs_in_random_order_are_thousands(ranges: int, least: int) -> None:
    boundaries = [f"{number / ranges:.6f}" for number in range(1, ranges)]
    partitioner = subtract.Partitioner((boundaries, 1), 16_384)
    refs = (("%.6f" % (i * 7_919 % 1_000_000 / 1_000_000),) for i in range(1_000_000))
    sizes = [len(part) for _, part in partitioner.add(refs)]
    sizes += [len(part) for _, part in partitioner.rest()]
    assert sum(sizes) == 1_000_000
    assert sum(sizes) / len(sizes) >= least * 0.9
