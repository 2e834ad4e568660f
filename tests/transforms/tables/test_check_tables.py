"""The check of an output: right tables pass, and each way to break the contract is reported in one line."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from gcs_server import Bucket
from published import DAYS, OTHER, RECIPE, fill, publish_all, put_failures, put_unit

from transforms.errors import UsageError
from transforms.storage import files
from transforms.tables import check, inventory, key_index, layout, rebuild, spill, writer


@pytest.fixture(params=["disk", "gs"])
def output(request: pytest.FixtureRequest, tmp_path: Path, bucket: Bucket) -> str:
    output = str(tmp_path / "out") if request.param == "disk" else bucket.uri("out")
    fill(output)
    return output


def file_of(output: str, table: str, day: str) -> str:
    (found,) = (each.uri for each in inventory.read(output).tables[table] if each.day == day)
    return found


def lines(output: str) -> list[str]:
    return [line.replace(f"{output}/", "OUT/").replace(output, "OUT") for line in check.check(output)]


def test_right_tables_pass_also_with_unpublished_units_and_files_elsewhere(output: str) -> None:
    put_unit(output, RECIPE, DAYS[0], ["0e"], "r2")
    put_failures(output, DAYS[1], ["1x"], 2)
    publish_all(output)
    put_unit(output, RECIPE, DAYS[0], ["0f"], "r3")
    for name in ("runs/r.json", "reports/x.html", "lock.json", "mine/a.parquet"):
        files.write(f"{output}/{name}", b"{}")
    assert lines(output) == []


def test_an_index_file_whose_published_file_is_missing_does_not_count(output: str) -> None:
    """A publish that was killed between the two."""
    put_unit(output, RECIPE, DAYS[0], ["0e"], "r2")
    keys = key_index.DONE.empty_table().from_pylist([{"uri": "0e", "version": "1"}], key_index.DONE)
    missing = "embeddings/x.parquet"
    key_index.put(output, RECIPE.table, keys, key_index.IndexFile("x", table_files=1, table_file=missing))
    assert lines(output) == []


def test_a_key_in_two_files(output: str) -> None:
    first, second = (file_of(output, RECIPE.table, day) for day in DAYS[:2])
    copy = second.rpartition("/")[0] + "/copy.parquet"
    files.write(copy, files.read(first)[0])
    found = lines(output)
    assert len(found) == 2
    assert found[0].startswith(f"{RECIPE.table}: the key index is of 3 files, and the table has 4; the next run")
    assert found[1].startswith(f"{RECIPE.table}: more than one row for 4 keys, such as 0")
    assert all(layout.relative(output, uri) in found[1] for uri in (first, copy))


def test_a_failure_twice_for_one_attempt(output: str) -> None:
    put_failures(output, DAYS[1], ["1y"], 1, "r2")
    found = file_of(output, layout.FAILURES, DAYS[1])
    data, _ = files.read(found)
    publish_all(output)
    files.write(f"{output}/failures/dt={DAYS[1]}/copy.parquet", data)
    names = " and ".join(sorted(f"failures/dt={DAYS[1]}/{name}" for name in (files.name(found), "copy.parquet")))
    assert [line for line in lines(output) if "key index" not in line] == [
        f"failures: more than one row for 1 key, such as 1x (version 1) in {names}"
    ]


@pytest.mark.parametrize("side", ["lacks", "adds"])
@pytest.mark.parametrize("table", [RECIPE.table, layout.FAILURES])
def test_an_index_with_other_keys(side: str, table: str, output: str) -> None:
    rebuild.rebuild(output, [table])  # one index file with all keys
    index = key_index.KeyIndex(output, table)
    (about,) = index.files
    (keys,) = index.read_sorted(about)
    rows = keys.to_pylist()
    changed = rows[1:] if side == "lacks" else [*rows, rows[0] | {"uri": "zz"}]
    key_index.put(output, table, keys.from_pylist(changed, keys.schema), about)
    uri = rows[0]["uri"]
    assert lines(output) == [
        f"{table}: the key index has no entry for 1 key of the table, such as {uri} (version 1); "
        "run `beamsight index rebuild OUT`"
        if side == "lacks"
        else f"{table}: the key index has 1 key that the table does not have, such as zz (version 1); "
        "run `beamsight index rebuild OUT`"
    ]


def test_an_index_with_another_number_of_attempts(output: str) -> None:
    index = key_index.KeyIndex(output, layout.FAILURES)
    (keys,) = index.read_sorted(index.files[0])
    changed = keys.from_pylist([row | {"attempts": 4} for row in keys.to_pylist()], keys.schema)
    key_index.put(output, layout.FAILURES, changed, index.files[0])
    assert [line.partition(";")[0].partition(":")[2] for line in lines(output)] == [
        " the key index has no entry for 1 key of the table, such as 0x (version 1)",
        " the key index has 1 key that the table does not have, such as 0x (version 1)",
    ]


def overwrite_index(output: str, suffix: str, data: bytes) -> None:
    about = key_index.read_files(output, RECIPE.table)[0]
    files.write(f"{layout.index_folder(output, RECIPE.table)}{about.name}.{suffix}", data)


def wrong_range(output: str) -> None:
    index = key_index.KeyIndex(output, RECIPE.table)
    (keys,) = index.read_sorted(index.files[0])
    key_index.put(output, RECIPE.table, keys.take([1, 0, 2, 3]), index.files[0])


def delete_a_merged_file(output: str, table: str, day: str) -> None:
    rebuild.rebuild(output, [table])  # one index file for all files
    files.delete(file_of(output, table, day))


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (lambda output: overwrite_index(output, "json", b"{"), "is damaged"),
        (lambda output: overwrite_index(output, "parquet", b"PAR1"), "cannot be read"),
        (wrong_range, "is not sorted as it states"),
        (lambda output: rebuild.delete(output, RECIPE.table), "missing"),
        (lambda output: delete_a_merged_file(output, RECIPE.table, DAYS[2]), "of 3 files, and the table has 2"),
    ],
)
def test_a_damaged_index(damage: Callable[[str], None], expected: str, output: str) -> None:
    damage(output)
    (line,) = lines(output)
    assert line.startswith(f"{RECIPE.table}: the ")
    assert expected in line
    assert "beamsight index rebuild" in line


def test_an_index_of_a_table_without_files(output: str) -> None:
    for day in DAYS:
        delete_a_merged_file(output, OTHER.table, day)
    (line,) = lines(output)
    assert line.startswith(f"{OTHER.table}: the key index is of 1 file, and the table has 0")


def test_other_files_between_those_of_the_tables(output: str) -> None:
    names = (
        "predictions/_SUCCESS",
        f"embeddings/{DAYS[0]}.parquet",
        f"{RECIPE.table}/dt={DAYS[0]}/a.parquet.crc",
        "failures/dt=today/a.parquet",
        "_work/units/r1/a.txt",
    )
    for name in names:
        files.write(f"{output}/{name}", b"x")
    assert lines(output) == sorted(f"{name} is not a file of the tables; move it to another folder" for name in names)


def test_a_damaged_byte_and_half_a_file(output: str) -> None:
    first, second = (file_of(output, RECIPE.table, day) for day in DAYS[:2])
    data = bytearray(files.read(first)[0])
    column = pq.ParquetFile(io.BytesIO(data)).metadata.row_group(0).column(2)
    data[column.data_page_offset + column.total_compressed_size // 2] ^= 1
    files.write(first, bytes(data))
    files.write(second, files.read(second)[0][:-20])
    found = lines(output)
    assert [line.partition(" cannot be read as a part of the table: ")[0] for line in found] == sorted(
        f"OUT/{layout.relative(output, uri)}" for uri in (first, second)
    )


def test_a_damaged_unit(output: str) -> None:
    unit = put_unit(output, RECIPE, DAYS[0], ["0e"], "r2")
    files.write(unit.uri, files.read(unit.uri)[0][:-20])
    (line,) = lines(output)
    assert line.startswith(f"{unit.uri.replace(output, 'OUT')} cannot be read")


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ({}, "has no beamsight.model, beamsight.source, beamsight.content_hash, beamsight.recipe, "),
        (
            {**OTHER.metadata(), "version": "1", "run_id": "r"},
            f"has rows of {OTHER.folder}, which do not belong to its",
        ),
        ({**RECIPE.metadata(), "version": "1"}, "has no beamsight.run_id in its footer"),
    ],
)
def test_a_wrong_footer(metadata: dict[str, str], expected: str, output: str) -> None:
    uri = file_of(output, RECIPE.table, DAYS[0])
    rows = pq.read_table(io.BytesIO(files.read(uri)[0]), partitioning=None)
    writer.put(uri, rows, metadata)
    (line,) = lines(output)
    assert line.startswith(f"{layout.relative(output, uri)} {expected}")


def test_rows_of_another_recipe(output: str) -> None:
    uri = file_of(output, RECIPE.table, DAYS[0])
    rows = pq.read_table(io.BytesIO(files.read(uri)[0]), partitioning=None)
    column = rows.schema.get_field_index("recipe")
    rows = rows.set_column(column, rows.schema.field(column), [["m-00000000"] * rows.num_rows])
    writer.put(uri, rows, RECIPE.metadata() | {"version": "1", "run_id": "r"})
    (line,) = lines(output)
    assert "has rows of m-00000000, which do not belong to its folder" in line


def test_no_tables(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no tables; check the path"):
        list(check.check(str(tmp_path)))
    assert list(tmp_path.iterdir()) == []


def test_tables_that_change_during_the_check(output: str) -> None:
    checking = check.check(output)
    files.write(f"{output}/predictions/x", b"")
    files.write(f"{output}/predictions/y", b"")
    next(checking)
    files.delete(f"{output}/predictions/y")
    with pytest.raises(UsageError, match="changed during the check"):
        list(checking)


def test_many_buckets_and_chunks(output: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spill, "BUCKET_FILES", 1)
    monkeypatch.setattr(spill, "_CHUNK_ROWS", 5)
    assert lines(output) == []
    copy = f"{output}/{RECIPE.table}/dt={DAYS[1]}/copy.parquet"
    files.write(copy, files.read(file_of(output, RECIPE.table, DAYS[0]))[0])
    assert "more than one row for 4 keys" in lines(output)[1]
