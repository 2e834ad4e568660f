"""Removal of a recipe and of old days: what is left is right, also if the removal is killed at any moment."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import duckdb
import pytest
from gcs_server import Bucket
from killed_files import Killed, KilledFiles
from published import DAYS, OTHER, RECIPE, fill, publish_all, put_failures, put_unit

from transforms.errors import Stopped, UsageError
from transforms.storage import files
from transforms.tables import check, inventory, key_index, layout, reader, remove
from transforms.tables.key_index import KeyIndex

Remove = Callable[[str], Any]

REMOVALS: dict[str, Remove] = {
    "recipe": lambda output: remove.drop_recipe(output, RECIPE.folder, ""),
    "days": lambda output: remove.expire(output, DAYS[2], ""),
}


@pytest.fixture(params=["disk", "gs"])
def output(request: pytest.FixtureRequest, tmp_path: Path, bucket: Bucket) -> str:
    output = str(tmp_path / "out") if request.param == "disk" else bucket.uri("out")
    fill(output)
    put_unit(output, RECIPE, DAYS[1], ["1e"], "r2")
    put_unit(output, OTHER, DAYS[2], ["2c"], "r2")
    return output


def uris_of(output: str, table: str) -> set[str]:
    """The URIs of a table, from its files."""
    read = inventory.read(output).tables.get(table, [])
    return {uri for each in read for uri in reader.read(each.uri, ["uri"])["uri"].to_pylist()}


def test_a_recipe_goes_with_its_units_and_its_index(output: str) -> None:
    removed = remove.drop_recipe(output, RECIPE.folder, "")
    assert [(each.table, each.files) for each in removed] == [(RECIPE.table, 4)]
    contents = inventory.read(output)
    assert contents.tables.keys() == contents.indexed == {OTHER.table, layout.FAILURES}
    assert list(check.check(output)) == []
    publish_all(output)
    assert inventory.read(output).tables.keys() == {OTHER.table, layout.FAILURES}
    assert uris_of(output, OTHER.table) == {"0a", "0b", "1a", "1b", "2a", "2b", "2c"}
    assert uris_of(output, layout.FAILURES) == {"0x", "1x", "2x"}


def test_old_days_go_from_all_tables(output: str) -> None:
    removed = remove.expire(output, DAYS[2], "")
    assert [(each.table, each.files) for each in removed] == [
        *sorted([(RECIPE.table, 3), (OTHER.table, 2)]),
        (layout.FAILURES, 2),
    ]
    publish_all(output)
    assert list(check.check(output)) == []
    assert uris_of(output, RECIPE.table) == {"2a", "2b", "2c", "2d"}
    assert uris_of(output, OTHER.table) == {"2a", "2b", "2c"}
    assert uris_of(output, layout.FAILURES) == {"2x"}
    assert KeyIndex(output, RECIPE.table).find(["0a", "1e", "2a"])["uri"].to_pylist() == ["2a"]


def test_a_day_before_all_rows_changes_nothing(output: str) -> None:
    before = sorted((stat.uri, stat.version) for stat in files.walk(f"{output}/"))
    assert remove.expire(output, DAYS[0], "") == []
    assert sorted((stat.uri, stat.version) for stat in files.walk(f"{output}/")) == before


def test_an_unknown_recipe(output: str) -> None:
    with pytest.raises(UsageError, match=rf"has no recipe 'x{RECIPE.folder}'; did you mean '{RECIPE.folder}'\?"):
        remove.drop_recipe(output, f"x{RECIPE.folder}", "")


def test_keys_of_a_killed_publish_do_not_outlive_their_unit(output: str) -> None:
    put_failures(output, DAYS[0], ["0y"], 1, "r2")
    keys = key_index.DONE.empty_table().from_pylist([{"uri": "1e", "version": "1"}], key_index.DONE)
    about = key_index.IndexFile("x", table_files=1, table_file=f"{RECIPE.table}/dt={DAYS[1]}/x.parquet")
    key_index.put(output, RECIPE.table, keys, about)
    remove.expire(output, DAYS[2], "")
    assert KeyIndex(output, RECIPE.table).find(["1e"]).num_rows == 0


def test_nothing_is_removed_without_the_lock(output: str) -> None:
    files.write(layout.lock(output), b'{"token": "another"}')
    before = sorted((stat.uri, stat.version) for stat in files.walk(f"{output}/"))
    with pytest.raises(Stopped, match="lost the lock"):
        remove.drop_recipe(output, RECIPE.folder, "mine")
    assert sorted((stat.uri, stat.version) for stat in files.walk(f"{output}/")) == before


@pytest.mark.parametrize("what", REMOVALS)
def test_a_removal_that_is_killed(what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_index, "FILE_ROWS", 3)
    full = tmp_path / "full"
    fill(str(full))
    put_unit(str(full), RECIPE, DAYS[0], ["0e"], "r2")
    for changes in count():
        output = str(shutil.copytree(full, tmp_path / f"{changes}"))
        try:
            with monkeypatch.context() as patch:
                patch.setitem(files.SYSTEMS, "file", KilledFiles(changes))
                REMOVALS[what](output)
        except Killed:
            publish_all(output)  # the next run
        else:
            break
        assert list(check.check(output)) == [], changes
        keys = duckdb.execute(f"select recipe, uri from '{output}/embeddings/**/*.parquet'").fetchall()
        assert len(set(keys)) == len(keys), changes
        if RECIPE.table in inventory.read(output).tables:  # the same command finishes it
            REMOVALS[what](output)
            assert list(check.check(output)) == [], changes
    assert changes > 8
