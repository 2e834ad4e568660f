"""key_index: keys are found exactly, few parts are read, and small files are merged, also if a merge is killed."""

from __future__ import annotations

import random
import shutil
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from gcs_server import Bucket
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from killed_files import Killed, KilledFiles

from transforms.errors import FetchError
from transforms.storage import files
from transforms.tables import index_merge, key_index, layout
from transforms.tables.key_index import DONE, FAILED, IndexFile, KeyIndex

T = "embeddings/model=e-1"
Key = tuple[str, "str | None"]


def keys_of(keys: Sequence[Key]) -> pa.Table:
    uris, versions = ([key[part] for key in keys] for part in (0, 1))
    return pa.Table.from_arrays([pa.array(uris, pa.string()), pa.array(versions, pa.string())], schema=DONE)


def put(output: str, name: str, keys: Sequence[Key], **about: Any) -> None:
    key_index.put(output, T, key_index.sort_keys(keys_of(keys)), IndexFile(name, **{"table_files": 1, **about}))


def plain(table: pa.Table) -> list[tuple[Any, ...]]:
    return [tuple(row.values()) for row in table.to_pylist()]


def all_keys(output: str) -> list[Key]:
    """The keys in all index files that count, with repetitions."""
    index = KeyIndex(output, T)
    replaced = {name for each in index.files for name in each.replaces}
    current = (each for each in index.files if each.name not in replaced)
    return sorted((key for each in current for keys in index.read_sorted(each) for key in plain(keys)), key=str)


def names(output: str) -> list[str]:
    return [files.name(stat.uri) for stat in files.walk(layout.index_folder(output, T))]


VERSION = st.sampled_from([None, "1", "2"])
URI = st.text(st.sampled_from("ab/é猫\U0001f431\0"), max_size=3)
KEYS = st.lists(st.tuples(URI, VERSION), min_size=1, max_size=12)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(KEYS, max_size=4), st.lists(st.lists(URI), max_size=3), st.integers(1, 4))
def test_keys_are_found_as_in_a_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, contents: list[list[Key]], asked: list[list[str]], rows: int
) -> None:
    monkeypatch.setattr(key_index, "GROUP_ROWS", rows)
    shutil.rmtree(tmp_path / "out", ignore_errors=True)
    output = str(tmp_path / "out")
    for number, keys in enumerate(contents):
        put(output, f"{number}", keys)
    index = KeyIndex(output, T)
    everything = {key for keys in contents for key in keys}
    for uris in asked:
        found = plain(index.find(sorted(uris)))
        assert set(found) == {key for key in everything if key[0] in uris}


def test_keys_are_found_after_many_files_and_merges(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_merge, "FAN_IN", 3)
    monkeypatch.setattr(key_index, "FILE_ROWS", 100)
    monkeypatch.setattr(key_index, "GROUP_ROWS", 7)
    choose = random.Random(0)
    expected: set[Key] = set()
    for number in range(30):
        keys = [(f"gs://b/{choose.randrange(900):04}.jpg", f"{choose.randrange(2)}") for _ in range(40)]
        put(str(tmp_path), f"{number}", keys)
        expected.update(keys)
        index_merge.merge(str(tmp_path), T)
        index = KeyIndex(str(tmp_path), T)
        assert key_index.count_table_files(index.files) == number + 1
        assert sum(each.table_files > 0 for each in index.files) <= 2 * 4  # less than FAN_IN of each level
        uris = sorted(f"gs://b/{choose.randrange(1_000):04}.jpg" for _ in range(200))
        assert set(plain(index.find(uris))) == {key for key in expected if key[0] in uris}
    assert max(each.level for each in index.files) == 3
    assert set(all_keys(str(tmp_path))) == expected


def test_only_the_parts_around_the_uris_are_read(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_index, "GROUP_ROWS", 10)
    output = bucket.uri("out")
    for number in range(5):
        put(output, f"{number}", [(f"{number}/{i:02}", "1") for i in range(50)])
    index = KeyIndex(output, T)
    groups: list[tuple[str, int]] = []
    read_group = index._group

    def count_group(name: str, group: int) -> pa.Table:
        groups.append((name, group))
        return read_group(name, group)

    monkeypatch.setattr(index, "_group", count_group)
    bucket.gcs.requests.clear()
    assert plain(index.find(["1/15", "1/19", "3/40", "3/99", "4"])) == [("1/15", "1"), ("1/19", "1"), ("3/40", "1")]
    assert [path.partition("?")[0].rpartition("%2F")[2] for path in bucket.gcs.media()] == [
        "1.parquet",
        "3.parquet",
    ]
    assert groups == [("1", 1), ("3", 4)]
    bucket.gcs.requests.clear()
    assert index.find(["1/16"]).num_rows == 1
    assert index.find([]).num_rows == index.find(["0", "9"]).num_rows == 0
    assert bucket.gcs.requests == []  # it is still in memory, and nothing else is needed
    assert index.boundaries() == [f"{number}/00" for number in range(5)]


def test_a_uri_that_is_too_long_for_statistics(tmp_path: Path) -> None:
    long = "/" + 5_000 * "z"
    put(str(tmp_path), "0", [("/", "1"), (long, None), ("/b", "1")])
    assert plain(KeyIndex(str(tmp_path), T).find(["/", long])) == [("/", "1"), (long, None)]


def test_failures_of_a_key_are_combined() -> None:
    rows = [("/a", "1", T, 1, True), ("/b", None, T, 2, True), ("/a", "1", T, 3, True), ("/b", None, T, 1, False)]
    table = pa.Table.from_pylist([dict(zip(FAILED.names, row, strict=True)) for row in rows], schema=FAILED)
    combined = key_index.sort_keys(table)
    assert combined.schema == FAILED
    assert plain(combined) == [("/a", "1", T, 3, True), ("/b", None, T, 2, False)]


@given(st.lists(st.lists(st.integers(0, 99), max_size=9), max_size=9), st.integers(1, 9))
def test_split(contents: list[list[int]], rows: int) -> None:
    schema = pa.schema([("n", pa.int64())])
    pieces = [pa.table({"n": pa.array(values, pa.int64())}, schema) for values in contents]
    numbers = [number for values in contents for number in values]
    parts = [part["n"].to_pylist() for part in key_index.split(pieces, rows)]
    assert parts == [numbers[start : start + rows] for start in range(0, len(numbers), rows)]


def test_nothing_is_merged_before_there_are_enough_files(tmp_path: Path) -> None:
    for number in range(index_merge.FAN_IN - 1):
        put(str(tmp_path), f"{number}", [(f"{number}", "1")])
    before = names(str(tmp_path))
    assert index_merge.merge(str(tmp_path), T) == 0
    assert names(str(tmp_path)) == before
    put(str(tmp_path), "last", [("last", "1"), ("0", "1"), ("0", "2")])
    assert index_merge.merge(str(tmp_path), T) == index_merge.FAN_IN
    (about,) = key_index.read_files(str(tmp_path), T)
    assert (about.level, about.table_files, about.table_file) == (1, index_merge.FAN_IN, None)
    assert (about.first, about.last) == ("0", "last")
    assert all_keys(str(tmp_path)) == sorted(
        [*((f"{number}", "1") for number in range(index_merge.FAN_IN - 1)), ("0", "2"), ("last", "1")]
    )
    assert index_merge.merge(str(tmp_path), T) == 0


def test_merged_files_have_ranges_that_do_not_overlap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_index, "FILE_ROWS", 6)
    monkeypatch.setattr(key_index, "GROUP_ROWS", 4)
    keys = [(f"{number:03}", "1") for number in range(50)]
    for start in range(index_merge.FAN_IN):
        put(str(tmp_path), f"{start}", keys[start :: index_merge.FAN_IN])
    index_merge.merge(str(tmp_path), T)
    found = key_index.read_files(str(tmp_path), T)
    assert [(each.first, each.last) for each in found] == [
        (keys[start][0], keys[min(start + 5, 49)][0]) for start in range(0, 50, 6)
    ]
    assert key_index.count_table_files(found) == index_merge.FAN_IN
    assert all_keys(str(tmp_path)) == keys


def test_a_merge_that_is_killed_loses_no_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_merge, "FAN_IN", 3)
    monkeypatch.setattr(key_index, "FILE_ROWS", 4)
    keys = [(f"{number:02}", "1") for number in range(18)]
    full = str(tmp_path / "full")
    for level in (0, 1):
        for start in range(3 - level):  # the merge of level 0 makes the third file of level 1
            part = keys[9 * level : 9 * level + 9][start :: 3 - level]
            put(full, f"{level}-{start}", part, level=level, table_files=1 + 2 * level)
    total = sum(each.table_files for each in key_index.read_files(full, T))
    expected = all_keys(full)
    for changes in count():
        output = str(shutil.copytree(full, tmp_path / f"{changes}"))
        try:
            with monkeypatch.context() as patch:
                patch.setitem(files.SYSTEMS, "file", KilledFiles(changes))
                index_merge.merge(output, T)
        except Killed:
            found = KeyIndex(output, T)
            assert set(plain(found.find([key[0] for key in keys]))) == set(expected), changes
            assert key_index.count_table_files(found.files) == total, changes
            index_merge.merge(output, T)  # by the next run
        else:
            break
        found = KeyIndex(output, T)
        assert sorted(set(plain(found.find([key[0] for key in keys])))) == expected, changes
        assert key_index.count_table_files(found.files) == total, changes
        assert not {"0-0.json", "0-1.json", "0-2.json"} & set(names(output)), changes
    assert changes > 12
    assert all_keys(output) == expected


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"{}", b'{"name": 1, "replaces": [], "other": 1}', b"\xff"])
def test_a_damaged_json_is_an_error_with_the_remedy(tmp_path: Path, data: bytes) -> None:
    put(str(tmp_path), "a", [("/a", "1")])
    files.write(f"{layout.index_folder(str(tmp_path), T)}a.json", data)
    with pytest.raises(FetchError, match=r"a\.json is damaged .*run `beamsight index rebuild` with the output"):
        KeyIndex(str(tmp_path), T)


def test_a_file_without_its_json_does_not_count(tmp_path: Path) -> None:
    put(str(tmp_path), "a", [("/a", "1")])
    put(str(tmp_path), "b", [("/b", "1")])
    files.delete(f"{layout.index_folder(str(tmp_path), T)}a.json")
    assert plain(KeyIndex(str(tmp_path), T).find(["/a", "/b"])) == [("/b", "1")]
    key_index.delete(str(tmp_path), T, ["a", "b", "none"])
    assert names(str(tmp_path)) == []
    assert KeyIndex(str(tmp_path), T).find(["/a"]).num_rows == 0


def test_tables_have_indexes_of_their_own(tmp_path: Path) -> None:
    put(str(tmp_path), "a", [("/a", "1")])
    for other in ("embeddings/model=e-10", "embeddings", layout.FAILURES):
        assert key_index.read_files(str(tmp_path), other) == []


def test_an_index_that_is_given_is_not_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(str(tmp_path), "a", [("/a", "1")])
    put(str(tmp_path), "b", [("/b", "1")])
    (about,) = (each for each in key_index.read_files(str(tmp_path), T) if each.name == "b")
    monkeypatch.delattr(files, "walk")
    assert plain(KeyIndex(str(tmp_path), T, [about]).find(["/a", "/b"])) == [("/b", "1")]
