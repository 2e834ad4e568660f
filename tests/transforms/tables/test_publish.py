"""publish: each key once, the index equal to the tables, and whatever is killed, the next run completes it."""

from __future__ import annotations

import io
import json
import random
import shutil
from itertools import count, pairwise
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from gcs_server import Bucket
from hypothesis import given
from hypothesis import strategies as st
from killed_files import Killed, KilledFiles
from published import DAYS, OTHER, RECIPE, TABLES, publish_all, put_failures, put_unit

from transforms import defaults
from transforms.errors import FetchError, Stopped
from transforms.storage import files
from transforms.tables import check, index_merge, key_index, layout, publish, writer
from transforms.tables.key_index import KeyIndex
from transforms.tables.publish import Group, Published, UnitFile

E = RECIPE.table


@pytest.fixture(params=["disk", "gs"])
def output(request: pytest.FixtureRequest, tmp_path: Path, bucket: Bucket) -> str:
    return str(tmp_path / "out") if request.param == "disk" else bucket.uri("out")


def group_of(*units: UnitFile) -> Group:
    (found,) = publish.group(units)
    return found


def listing(output: str) -> dict[str, str]:
    return {layout.relative(output, stat.uri): stat.version for stat in files.walk(f"{output}/")}


def rows(output: str, table: str) -> list[dict[str, Any]]:
    """The rows that a reader of a table sees, in the order of its files."""
    uris = sorted(stat.uri for stat in files.walk(layout.folder(output, table)))
    return [row for uri in uris for row in pq.read_table(io.BytesIO(files.read(uri)[0])).to_pylist()]


def uris_of(output: str, table: str = E) -> list[str]:
    return sorted(row["uri"] for row in rows(output, table))


def units_left(output: str) -> list[str]:
    return [stat.uri for stat in files.walk(layout.units_folder(output))]


SIZES = st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(DAYS), st.integers(0, 9), st.integers(0, 9)))


@given(SIZES, st.randoms(use_true_random=False))
def test_groups_have_bounded_sizes_whatever_the_order(
    sizes: list[tuple[str, str, int, int]], shuffle: random.Random
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(publish, "FILE_BYTES", 20)
        patch.setattr(publish, "FILE_ROWS", 15)
        units = [UnitFile(table, day, f"u{n}", size, rows_) for n, (table, day, size, rows_) in enumerate(sizes)]
        groups = list(publish.group(units))
        shuffled = [*units, *units[:2]]  # a bundle that is repeated names its units again
        shuffle.shuffle(shuffled)
        assert list(publish.group(shuffled)) == groups
    by_uri = {unit.uri: unit for unit in units}
    assert sorted(uri for group in groups for uri in group.uris) == sorted(by_uri)
    for group in groups:
        members = [by_uri[uri] for uri in group.uris]
        assert {(unit.table, unit.day) for unit in members} == {(group.table, group.day)}
        assert sum(unit.size for unit in members) <= 20
        assert sum(unit.rows for unit in members) <= 15
    for group, following in pairwise(groups):
        if group[:2] == following[:2]:  # the next unit does not fit
            members = [by_uri[uri] for uri in (*group.uris, following.uris[0])]
            assert sum(unit.size for unit in members) > 20 or sum(unit.rows for unit in members) > 15
    assert len({group.name for group in groups}) == len(groups)


def test_a_unit_larger_than_a_file_is_a_group_of_its_own() -> None:
    large = UnitFile(E, DAYS[0], "b", publish.FILE_BYTES + 1, 1)
    units = [large, large._replace(uri="a", size=1), large._replace(uri="c", size=1)]
    assert [group.uris for group in publish.group(units)] == [("a",), ("b",), ("c",)]


def test_units_become_one_file_with_what_they_say(output: str) -> None:
    units = [put_unit(output, RECIPE, DAYS[0], uris) for uris in (["c", "d"], ["a", "b"])]
    group = group_of(*units)
    assert publish.publish(group, output, "", "r7") == Published(1, 4, 0)
    path = f"{E}/dt={DAYS[0]}/{group.name}.parquet"
    index = [f"_work/index/{E}/{group.name}.{suffix}" for suffix in ("json", "parquet")]
    assert sorted(listing(output)) == sorted([path, *index])
    file = pq.ParquetFile(io.BytesIO(files.read(f"{output}/{path}")[0]))
    assert file.num_row_groups == 1
    assert file.schema_arrow.names == ["uri", "version", "sha256", "embedding", "recipe", "run_id"]
    found = file.read().to_pylist()
    assert [row["uri"] for row in found] == ["a", "b", "c", "d"]
    assert {(row["recipe"], row["run_id"], *row["embedding"]) for row in found} == {
        (RECIPE.folder, "r1", 0.5, 0.5, 0.5, 0.5)
    }
    footer = {key.decode(): value.decode() for key, value in file.metadata.metadata.items() if key != b"ARROW:schema"}
    expected = RECIPE.metadata() | {"version": "1.0", "run_id": "r1", "published_by": "r7", "lock": ""}
    assert footer == {
        **{f"beamsight.{key}": value for key, value in expected.items()},
        "beamsight.units": json.dumps(["ua", "uc"]),
    }
    assert list(check.check(output)) == []


def test_row_groups_are_as_large_as_readers_like(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    units = [put_unit(str(tmp_path), RECIPE, DAYS[0], [f"{n:02}{letter}" for letter in "abc"]) for n in range(20)]
    monkeypatch.setattr(writer, "ROW_GROUP_BYTES", 1_000)
    publish.publish(group_of(*units), str(tmp_path), "", "r7")
    (path,) = (tmp_path / E).rglob("*.parquet")
    metadata = pq.ParquetFile(path).metadata
    sizes = [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)]
    assert sum(sizes) == 60
    assert len(set(sizes[:-1])) == 1
    assert 3 < sizes[0] < 60


def test_tables_and_days_have_files_of_their_own(output: str) -> None:
    for day in DAYS[:2]:
        put_unit(output, RECIPE, day, [f"{day}/a"])
        put_unit(output, OTHER, day, [f"{day}/a"])
        put_failures(output, day, [f"{day}/x"])
    publish_all(output)
    folders = [path.rpartition("/")[0] for path in listing(output) if not path.startswith("_work")]
    assert sorted(folders) == sorted(f"{table}/dt={day}" for table in TABLES for day in DAYS[:2])
    assert units_left(output) == []
    assert list(check.check(output)) == []


def test_no_key_is_published_twice(output: str) -> None:
    first = [put_unit(output, RECIPE, DAYS[0], ["a", "b"]), put_unit(output, RECIPE, DAYS[0], ["c", "b"])]
    assert publish.publish(group_of(*first), output, "", "r7") == Published(1, 3, 1)
    again = put_unit(output, RECIPE, DAYS[1], ["a", "d"], "r2")  # of another run, on another day
    assert publish.publish(group_of(again), output, "", "r7") == Published(1, 1, 1)
    other = put_unit(output, OTHER, DAYS[1], ["a"], "r2")  # another recipe
    assert publish.publish(group_of(other), output, "", "r7") == Published(1, 1, 0)
    assert uris_of(output) == ["a", "b", "c", "d"]
    assert list(check.check(output)) == []


def test_another_version_is_another_key(tmp_path: Path) -> None:
    output = str(tmp_path)
    first = put_unit(output, RECIPE, DAYS[0], ["a"])
    publish.publish(group_of(first), output, "", "r7")
    second = put_unit(output, RECIPE, DAYS[0], ["a"], "r2")
    table = pq.read_table(second.uri, partitioning=None)
    table = table.set_column(1, table.schema.field("version"), [["2"]])
    writer.put(second.uri, table, RECIPE.metadata())
    assert publish.publish(group_of(second), output, "", "r7") == Published(1, 1, 0)
    assert sorted((row["uri"], row["version"]) for row in rows(output, E)) == [("a", "1"), ("a", "2")]


def test_units_with_nothing_new_leave_no_file(output: str) -> None:
    publish.publish(group_of(put_unit(output, RECIPE, DAYS[0], ["a", "b"])), output, "", "r7")
    before = listing(output)
    again = [put_unit(output, RECIPE, DAYS[1], ["b"], "r2"), put_unit(output, RECIPE, DAYS[1], ["a"], "r3")]
    assert publish.publish(group_of(*again), output, "", "r7") == Published(0, 0, 2)
    assert listing(output) == before


@pytest.mark.parametrize(
    ("known", "new", "is_new"),
    [
        ((1, [E]), (1, [E]), False),
        ((1, [E]), (2, [E]), True),
        ((3, [E]), (2, [E]), False),
        ((1, [E]), (1, [OTHER.table]), True),
        ((1, [E]), (1, [E, OTHER.table]), True),
        ((1, [E, OTHER.table]), (1, [OTHER.table]), False),
    ],
)
@pytest.mark.parametrize("together", [False, True])
def test_a_failure_is_published_once_for_each_attempt(
    tmp_path: Path, known: tuple[int, list[str]], new: tuple[int, list[str]], is_new: bool, together: bool
) -> None:
    output = str(tmp_path)
    first = put_failures(output, DAYS[0], ["x"], known[0], "r1", known[1])
    second = put_failures(output, DAYS[0], ["x"], new[0], "r2", new[1])
    if together:
        publish.publish(Group(layout.FAILURES, DAYS[0], (first.uri, second.uri)), output, "", "r7")
    else:
        for unit in (first, second):
            publish.publish(group_of(unit), output, "", "r7")
    found = sorted((row["attempt"], row["tables"]) for row in rows(output, layout.FAILURES))
    assert found == sorted([known, *([new] if is_new else [])])
    assert list(check.check(output)) == []


def test_the_same_group_again_changes_nothing(output: str) -> None:
    units = [put_unit(output, RECIPE, DAYS[0], [uri]) for uri in "ab"]
    group = group_of(*units)
    publish.publish(group, output, "", "r7")
    before = listing(output)
    put_unit(output, RECIPE, DAYS[0], ["b"])  # the publish was killed before it deleted this unit
    assert publish.publish(group, output, "", "r8") == Published(0, 0, 0)
    assert listing(output) == before


def test_units_that_are_lost_are_an_error(output: str) -> None:
    units = [put_unit(output, RECIPE, DAYS[0], [uri]) for uri in "ab"]
    files.delete(units[1].uri)
    with pytest.raises(FetchError, match=r"ub\.parquet"):
        publish.publish(group_of(*units), output, "", "r7")
    assert [uri for uri in listing(output) if uri.startswith(E)] == []
    assert units_left(output) == [units[0].uri]


@pytest.mark.parametrize("data", [b"", b"PAR1", None])
def test_a_damaged_unit_is_an_error_with_its_name(output: str, data: bytes | None) -> None:
    units = [put_unit(output, RECIPE, DAYS[0], [uri]) for uri in "ab"]
    files.write(units[1].uri, files.read(units[1].uri)[0][:-9] if data is None else data)
    with pytest.raises(FetchError, match=r"ub\.parquet cannot be read as a part of the table"):
        publish.publish(group_of(*units), output, "", "r7")
    assert [uri for uri in listing(output) if uri.startswith(E)] == []
    assert len(units_left(output)) == 2


def test_nothing_is_published_without_the_lock(output: str) -> None:
    group = group_of(put_unit(output, RECIPE, DAYS[0], ["a", "b"]))
    for lock in (None, b'{"token": "another"}', b"{}", b"half"):
        if lock is not None:
            files.write(layout.lock(output), lock)
        with pytest.raises(Stopped, match=r"lost the lock .*lock\.json, so nothing more was written"):
            publish.publish(group, output, "mine", "r7")
        assert uris_of(output) == []
        assert units_left(output) == list(group.uris)
    files.write(layout.lock(output), b'{"token": "mine"}')
    assert publish.publish(group, output, "mine", "r7") == Published(1, 2, 0)
    assert list(check.check(output)) == []


def test_a_lock_that_is_lost_during_a_publish(output: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another run takes over, publishes the unit itself, and ends before this one goes on."""
    group = group_of(put_unit(output, RECIPE, DAYS[0], ["a", "b"]))
    files.write(layout.lock(output), b'{"token": "mine"}')
    put = key_index.put

    def lose_the_lock(*args: Any) -> None:
        put(*args)
        monkeypatch.undo()
        files.write(layout.lock(output), b'{"token": "another"}')
        for table in TABLES:
            publish.undo(output, table)
        assert publish.publish(group, output, "another", "r8") == Published(1, 2, 0)

    monkeypatch.setattr(key_index, "put", lose_the_lock)
    with pytest.raises(Stopped):
        publish.publish(group, output, "mine", "r7")
    assert uris_of(output) == ["a", "b"]
    assert list(check.check(output)) == []


def test_leftovers_by_run(output: str) -> None:
    units = {
        "r1": [put_unit(output, RECIPE, DAYS[0], ["a"]), put_failures(output, DAYS[1], ["x"])],
        "r2": [put_unit(output, OTHER, DAYS[2], ["b"], "r2")],
    }
    for path in ("units/r3/a.txt", "units/r3/x.parquet", "started/r1-u.json", "index/x.parquet"):
        files.write(f"{output}/_work/{path}", b"")
    found = publish.list_leftovers(output)
    assert {run_id: [unit[:4] for unit in sorted(found[run_id])] for run_id in found} == {
        run_id: sorted(unit[:4] for unit in members) for run_id, members in units.items()
    }


def test_groups_of_leftovers_have_bounded_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A listing does not say how many rows a unit has, so a full unit is assumed."""
    for number in range(5):
        put_unit(str(tmp_path), RECIPE, DAYS[0], [f"{number}"])
    monkeypatch.setattr(publish, "FILE_ROWS", 2 * defaults.UNIT_SIZE)
    (units,) = publish.list_leftovers(str(tmp_path)).values()
    assert [len(group.uris) for group in publish.group(units)] == [2, 2, 1]


def test_undo_deletes_only_what_a_killed_publish_left(output: str) -> None:
    put_unit(output, RECIPE, DAYS[0], ["a"])
    put_failures(output, DAYS[0], ["x"])
    publish_all(output)
    keys = pa.Table.from_pylist([{"uri": "b", "version": "1"}], key_index.DONE)
    key_index.put(output, E, keys, key_index.IndexFile("merged", level=1, table_files=1))
    before = listing(output)
    about = key_index.IndexFile("b", table_files=1, table_file=f"{E}/dt={DAYS[0]}/b.parquet")
    key_index.put(output, E, keys, about)
    for table in (OTHER.table, layout.FAILURES):
        publish.undo(output, table)
    assert len(listing(output)) == len(before) + 2
    for table in TABLES:
        publish.undo(output, table)
    assert listing(output) == before


@pytest.mark.parametrize("repetition", ["next run", "same run"])
def test_a_publish_that_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, repetition: str) -> None:
    monkeypatch.setattr(index_merge, "FAN_IN", 2)
    full = str(tmp_path / "full")
    put_unit(full, RECIPE, DAYS[0], ["a", "b"], "r0")
    put_failures(full, DAYS[0], ["x"], 1, "r0")
    publish_all(full)
    put_unit(full, RECIPE, DAYS[0], ["c", "d"])
    put_unit(full, RECIPE, DAYS[0], ["b", "e"])  # b is published already
    put_unit(full, RECIPE, DAYS[1], ["f"])
    put_unit(full, OTHER, DAYS[1], ["f"])
    put_unit(full, RECIPE, DAYS[1], ["a"])  # nothing new
    put_failures(full, DAYS[1], ["x", "y"], 2)
    (units,) = publish.list_leftovers(full).values()
    groups = list(publish.group(units))

    def end_a_run(output: str) -> None:
        for group in groups:
            uris = tuple(uri.replace(full, output) for uri in group.uris)
            publish.publish(group._replace(uris=uris), output, "", "r1")
        for table in TABLES:
            index_merge.merge(output, table)

    for changes in count():
        output = str(shutil.copytree(full, tmp_path / f"{changes}"))
        try:
            with monkeypatch.context() as patch:
                patch.setitem(files.SYSTEMS, "file", KilledFiles(changes))
                end_a_run(output)
        except Killed:
            found = duckdb.execute(f"select recipe, uri, version from '{output}/embeddings/**/*.parquet'").fetchall()
            assert len(set(found)) == len(found), changes  # a reader sees none twice
            assert list(check.check(output)) == [], changes
            if repetition == "same run":
                end_a_run(output)  # as Beam does it
            else:
                publish_all(output)
                assert units_left(output) == [], changes
        else:
            break
        assert uris_of(output) == list("abcdef"), changes
        assert uris_of(output, OTHER.table) == ["f"], changes
        assert sorted((row["uri"], row["attempt"]) for row in rows(output, layout.FAILURES)) == [
            ("x", 1),
            ("x", 2),
            ("y", 2),
        ], changes
        assert list(check.check(output)) == [], changes
        assert sorted(set(KeyIndex(output, E).find(list("abcdef"))["uri"].to_pylist())) == list("abcdef"), changes
    assert changes > 30
    assert list(check.check(output)) == []
