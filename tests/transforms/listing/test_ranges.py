"""ranges: a source is cut into ranges of keys that miss nothing, with few requests."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from itertools import pairwise

import pytest
from gcs_server import Bucket
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from transforms.errors import NotFound
from transforms.listing import ranges, sources
from transforms.storage import files
from transforms.storage.base import ALL_KEYS, KeyRange

CHARACTERS = st.one_of(st.sampled_from("ab01/"), st.characters(exclude_categories=["Cs"], exclude_characters="\r\n"))
WORDS = st.text(CHARACTERS, min_size=1, max_size=6)
NAMES = st.lists(WORDS, max_size=60, unique=True)


class Names:
    """Sorted URIs, and the number of times that they were asked for."""

    def __init__(self, uris: Sequence[str]) -> None:
        self.uris = sorted(uris)
        self.requests = 0

    def first(self, keys: KeyRange, count: int) -> Sequence[str]:
        self.requests += 1
        start = bisect_left(self.uris, keys.start)
        end = len(self.uris) if keys.end is None else bisect_left(self.uris, keys.end)
        return self.uris[start : min(end, start + count)]

    def sizes(self, boundaries: Sequence[str]) -> list[int]:
        places = [0, *(bisect_left(self.uris, boundary) for boundary in boundaries), len(self.uris)]
        return [after - before for before, after in pairwise(places)]


@given(NAMES, st.lists(WORDS, max_size=8, unique=True))
def test_each_uri_is_in_one_of_the_ranges_between_any_boundaries(names: list[str], boundaries: list[str]) -> None:
    parts = ranges.between(sorted(boundaries))
    assert [name for keys in parts for name in sorted(names) if keys.has(name)] == sorted(names)


@given(NAMES, st.integers(2, 40), st.integers(2, 9))
def test_boundaries_found_in_any_names_are_sorted_and_leave_no_range_empty(
    names: list[str], wanted: int, page: int
) -> None:
    listed = Names([f"gs://b/{name}" for name in names])
    boundaries = ranges.find_boundaries(listed.first, len("gs://b/"), wanted, page)
    assert boundaries == sorted(set(boundaries))
    sizes = listed.sizes(boundaries)
    assert sum(sizes) == len(names)
    assert 0 not in sizes or not names


@pytest.mark.parametrize(
    "name", ["gs://b/photos/2026/11/20/img_{0:08}.jpg", "gs://b/{0:08x}", "gs://b/camera-{1}/{0:07}.jpg"]
)
def test_ranges_of_many_uris_are_alike_and_cost_few_requests(name: str) -> None:
    listed = Names([name.format(i * 31 % 1_000_003, i % 7) for i in range(100_000)])
    sizes = listed.sizes(ranges.find_boundaries(listed.first, len("gs://b/"), 32, page=500))
    assert len(sizes) >= 32
    assert max(sizes) <= 100_000 / 8
    assert listed.requests <= 4 * len(sizes)


def test_one_large_folder_among_small_ones_is_split() -> None:
    small = [f"gs://b/{folder}/{i}" for folder in "abcdefghijklm" for i in range(100)]
    listed = Names([*small, *(f"gs://b/n/{i:06}" for i in range(50_000))])
    assert max(listed.sizes(ranges.find_boundaries(listed.first, len("gs://b/"), 32, page=500))) <= 50_000 / 8


def test_few_uris_are_one_range() -> None:
    listed = Names([f"gs://b/{i:03}" for i in range(499)])
    assert ranges.find_boundaries(listed.first, len("gs://b/"), 32, page=500) == []
    assert listed.requests == 1


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(names=NAMES, boundaries=st.lists(WORDS, max_size=5, unique=True))
def test_the_server_lists_each_object_in_one_range(bucket: Bucket, names: list[str], boundaries: list[str]) -> None:
    top = f"{len(bucket.gcs.requests)}-"  # of this example alone
    for name in names:
        bucket.put(top + name, b"")
    parts = ranges.between([bucket.uri(top + name) for name in sorted(boundaries)])
    found = [stat.uri for keys in parts for stat in files.walk(bucket.uri(top), keys=keys, page=7)]
    assert found == [bucket.uri(top + name) for name in sorted(names) if not name.endswith("/")]


def asked(bucket: Bucket) -> int:
    """The number of list requests so far."""
    return sum(path.partition("?")[0].endswith("/o") for _, path in bucket.gcs.requests)


@pytest.mark.parametrize("source", ["p", "p/", "p/*/*.jpg", "p/**", "p/a/*"])
def test_split_ranges_list_what_the_whole_source_lists(bucket: Bucket, source: str) -> None:
    for i in range(300):
        bucket.put(f"p/{'ab'[i % 2]}/{i:04}.{'jpg' if i % 3 else 'txt'}", b"x")
    bucket.put("p2/other.jpg", b"x")
    uri = bucket.uri(source)
    (whole,) = sources.list_images(uri)
    parts = ranges.split(uri, 8, page=10)
    assert len(parts) >= 8
    pieces = [chunk for keys in parts for chunk in sources.list_images(uri, keys=keys)]
    assert [ref for chunk in pieces for ref in chunk.refs] == whole.refs
    assert sum(chunk.ignored for chunk in pieces) == whole.ignored


@pytest.mark.parametrize("source", ["p/photo[1].jpg", "m.csv", "p/a.jpg"])
def test_a_file_is_not_split(bucket: Bucket, source: str) -> None:
    bucket.put(source, b"uri\na.jpg\n")
    assert ranges.split(bucket.uri(source), 8) == [ALL_KEYS]
    assert asked(bucket) == 0


def test_one_worker_and_other_file_systems_send_no_request(bucket: Bucket) -> None:
    assert ranges.split(bucket.uri("p/"), 1) == ranges.split("/data/", 8) == [ALL_KEYS]
    assert bucket.gcs.requests == []


def test_a_missing_bucket_is_not_found(bucket: Bucket) -> None:
    with pytest.raises(NotFound):
        ranges.split("gs://no-such-bucket/p/", 8)


def test_requests_for_a_hundred_thousand_objects(bucket: Bucket) -> None:
    for i in range(100_000):
        bucket.put(f"night/20261120_{i:06}.jpg", b"")
    uri = bucket.uri("night/20261120_*")
    assert sum(len(chunk.refs) for chunk in sources.list_images(uri)) == 100_000
    assert asked(bucket) == 20
    bucket.gcs.requests.clear()
    parts = ranges.split(uri, 4 * 8)
    to_split = asked(bucket)
    bucket.gcs.requests.clear()
    shares = [sum(len(chunk.refs) for chunk in sources.list_images(uri, keys=keys)) for keys in parts]
    assert sum(shares) == 100_000
    assert len(parts) >= 32
    assert max(shares) <= 5_000  # so 4 workers list at most 10 pages each, and not 20
    assert to_split <= 100
    assert asked(bucket) == len(parts)
