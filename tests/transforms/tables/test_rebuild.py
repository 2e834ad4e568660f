"""Key indexes that are made anew: complete, or not current; and complete beside the output for a preview."""

from __future__ import annotations

import shutil
from itertools import count
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from gcs_server import Bucket
from killed_files import Killed, KilledFiles
from published import DAYS, OTHER, RECIPE, TABLES, fill, publish_all, put_failures, put_unit

from transforms.errors import FetchError, Stopped
from transforms.history.known import History, Retries
from transforms.storage import files
from transforms.tables import check, key_index, layout, rebuild
from transforms.tables.key_index import KeyIndex

URIS = sorted(f"{number}{letter}" for number in range(3) for letter in "abcd")


@pytest.fixture(params=["disk", "gs"])
def output(request: pytest.FixtureRequest, tmp_path: Path, bucket: Bucket) -> str:
    return str(tmp_path / "out") if request.param == "disk" else bucket.uri("out")


def listing(output: str) -> list[tuple[str, str]]:
    return sorted((stat.uri, stat.version) for stat in files.walk(f"{output}/"))


def test_a_deleted_index_is_made_anew(output: str) -> None:
    fill(output)
    rebuild.delete(output, RECIPE.table)
    assert not rebuild.is_current(output, RECIPE.table)
    rebuild.rebuild(output, [RECIPE.table])
    assert rebuild.is_current(output, RECIPE.table)
    assert KeyIndex(output, RECIPE.table).find(URIS)["uri"].to_pylist() == URIS
    assert list(check.check(output)) == []


def test_what_is_left_of_other_index_files_goes(output: str) -> None:
    fill(output)
    for name, data in (("a.json", b"{"), ("b.parquet", b"PAR1"), ("c.json", b"[]")):
        files.write(f"{layout.index_folder(output, RECIPE.table)}{name}", data)
    with pytest.raises(FetchError, match="beamsight index rebuild"):
        key_index.read_files(output, RECIPE.table)
    rebuild.rebuild(output, TABLES)
    names = {files.name(uri).partition(".")[0] for uri, _ in listing(layout.index_folder(output, RECIPE.table)[:-1])}
    assert not names & {"a", "b", "c"}
    assert list(check.check(output)) == []


def test_an_index_without_its_table_goes(output: str) -> None:
    fill(output)
    for stat in list(files.walk(layout.folder(output, OTHER.table))):
        files.delete(stat.uri)
    rebuild.rebuild(output, [OTHER.table])
    assert listing(layout.index_folder(output, OTHER.table)[:-1]) == []


def test_only_the_keys_of_a_table_are_read(tmp_path: Path) -> None:
    """All other columns are overwritten with bytes that no reader accepts."""
    fill(str(tmp_path))
    for path in (tmp_path / RECIPE.table).rglob("*.parquet"):
        group = pq.ParquetFile(path).metadata.row_group(0)
        data = bytearray(path.read_bytes())
        for column in map(group.column, range(group.num_columns)):
            if column.path_in_schema not in ("uri", "version"):
                start = min(filter(None, (column.dictionary_page_offset, column.data_page_offset)))
                data[start : start + column.total_compressed_size] = b"\xff" * column.total_compressed_size
        path.write_bytes(data)
        with pytest.raises(OSError, match="deserialize"):
            pq.read_table(path, partitioning=None)
    rebuild.rebuild(str(tmp_path), [RECIPE.table])
    assert KeyIndex(str(tmp_path), RECIPE.table).find(URIS)["uri"].to_pylist() == URIS


def test_early_failures_without_attempts(tmp_path: Path) -> None:
    fill(str(tmp_path))
    put_failures(str(tmp_path), DAYS[0], ["0y"], 3, "r2")
    publish_all(str(tmp_path))
    for path in (tmp_path / layout.FAILURES).rglob("*.parquet"):
        pq.write_table(pq.read_table(path, partitioning=None).drop_columns("attempt"), path)
    rebuild.rebuild(str(tmp_path), [layout.FAILURES])
    found = KeyIndex(str(tmp_path), layout.FAILURES).find(["0x", "0y"]).to_pylist()
    assert [(row["uri"], row["attempts"]) for row in found] == [("0x", 1), ("0y", 1)]


@pytest.mark.parametrize("damage", ["cut", "zeros", "empty", "other columns"])
@pytest.mark.parametrize("table", [RECIPE.table, layout.FAILURES])
def test_a_damaged_file_of_a_table_is_an_error(tmp_path: Path, table: str, damage: str) -> None:
    fill(str(tmp_path))
    path = max((tmp_path / table).rglob("*.parquet"))
    if damage == "other columns":
        pq.write_table(pq.read_table(path, columns=["uri"], partitioning=None), path)
    else:
        data = path.read_bytes()
        path.write_bytes({"cut": data[:-9], "zeros": bytes(len(data)), "empty": b""}[damage])
    with pytest.raises(FetchError, match=rf"{path.name} cannot be read as a part of the table: .*restore or remove"):
        rebuild.rebuild(str(tmp_path), [table])
    assert not rebuild.is_current(str(tmp_path), table)


def test_a_rebuild_that_is_killed_never_passes_as_complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_index, "FILE_ROWS", 3)  # so the keys of the table are in four index files
    fill(str(tmp_path / "full"))
    for changes in count():
        output = str(shutil.copytree(tmp_path / "full", tmp_path / f"{changes}"))
        try:
            with monkeypatch.context() as patch:
                patch.setitem(files.SYSTEMS, "file", KilledFiles(changes))
                rebuild.rebuild(output, [RECIPE.table])
        except Killed:
            keys = KeyIndex(output, RECIPE.table).find(URIS)["uri"].to_pylist()
            assert sorted(set(keys)) == URIS or not rebuild.is_current(output, RECIPE.table), changes
            publish_all(output)
        else:
            break
        assert list(check.check(output)) == [], changes
    assert changes > 8
    assert list(check.check(output)) == []


def test_a_rebuild_stops_when_the_lock_is_lost(tmp_path: Path) -> None:
    fill(str(tmp_path))
    files.write(layout.lock(str(tmp_path)), b'{"token": "another"}')
    before = listing(str(tmp_path))
    with pytest.raises(Stopped, match="lost the lock"):
        rebuild.rebuild(str(tmp_path), TABLES, "mine")
    assert listing(str(tmp_path)) == before


@pytest.mark.parametrize("index", ["current", "missing", "old", "too much"])
def test_all_keys_are_found_without_a_change_of_the_output(index: str, output: str, tmp_path: Path) -> None:
    fill(output)
    put_unit(output, RECIPE, DAYS[2], ["2e", "2f"], "r2")
    put_failures(output, DAYS[2], ["2y"], 1, "r2")
    put_failures(output, DAYS[2], ["2x"], 2, "r2")
    expected = {*URIS, "2e", "2f"}
    if index == "missing":
        for stat in list(files.walk(f"{output}/_work/index/")):
            files.delete(stat.uri)
    elif index == "old":  # an early version wrote a file, which no index has
        unit = put_unit(output, RECIPE, DAYS[0], ["0e"], "r3")
        files.write(layout.table_file(output, RECIPE.table, DAYS[0], "early"), files.read(unit.uri)[0])
        files.delete(unit.uri)
        expected.add("0e")
    elif index == "too much":  # somebody deleted a file of the table
        files.delete(min(stat.uri for stat in files.walk(layout.folder(output, RECIPE.table))))
        expected -= {"0a", "0b", "0c", "0d"}
    before = listing(output)
    places = rebuild.complete(output, TABLES, str(tmp_path / "scratch"))
    history = History(places, [RECIPE.table], Retries())
    uris = sorted({*URIS, "0e", "0x", "1x", "2e", "2f", "2x", "2y", "new"})
    known = list(history.find(uris))
    assert {uri for each in known if not each.failed for uri, _ in each.keys} == expected
    attempts: dict[str, int] = {}
    for each in known:
        if each.failed:
            assert each.attempts is not None
            for (uri, _), attempt in zip(each.keys, each.attempts, strict=True):
                attempts[uri] = max(attempt, attempts.get(uri, 0))
    assert attempts == {"0x": 1, "1x": 1, "2x": 2, "2y": 1}
    assert listing(output) == before
