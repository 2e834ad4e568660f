"""Published files keep the rules of BigQuery. BigQuery itself cannot be asked here, so the rules are checked in code.

The sources are pages of the BigQuery documentation:

- "Loading Parquet data from Cloud Storage": types, lists, equal columns behind a wildcard, and sizes of row groups.
- "Specifying a schema": characters and prefixes of column names.
- "Using nested and repeated columns" and "Quotas and limits": depth of nesting, and numbers of columns.
- "Array functions and types" (NULLs and the ARRAY type): no null elements.
- "Manage external Hive partitioned data": partitions.
"""

from __future__ import annotations

import io
import re
from datetime import date
from itertools import groupby
from pathlib import Path

import catalogs
import numpy as np
import pyarrow.parquet as pq
import pytest

from transforms.inference.recipe import Recipe
from transforms.inference.spec import ModelSpec
from transforms.tables import layout, publish, reader, schemas, writer

# Physical and logical type in Parquet -> type in BigQuery.
TYPES = {
    ("BYTE_ARRAY", "String"): "STRING",
    ("INT32", "None"): "INT64",
    ("FLOAT", "None"): "FLOAT64",
    ("BOOLEAN", "None"): "BOOL",
    ("INT64", "Timestamp(isAdjustedToUTC=true, timeUnit=microseconds)"): "TIMESTAMP",
}
RESERVED = ("_TABLE_", "_FILE_", "_PARTITION", "_ROW_TIMESTAMP", "__ROOT__", "_COLIDENTIFIER", "_CHANGE_")
MAX_COLUMNS = 4096  # A margin: "Quotas and limits" has 10,000.
MAX_DEPTH = 15
MIN_ROW_GROUP = 16 << 20


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Path]]:
    """The published files of each table and recipe."""
    output = tmp_path_factory.mktemp("output")
    catalogs.make(str(output), (catalogs.PLAIN, catalogs.ALL, catalogs.VECTORS, catalogs.UNIT_LENGTH))
    paths = sorted(Path(uri) for name in catalogs.TABLES for uri in reader.parts(layout.folder(str(output), name)))
    found = {
        table: list(members)
        for table, members in groupby(paths, lambda path: path.parents[1].relative_to(output).as_posix())
    }
    assert len(found) == 5
    return found


@pytest.fixture(scope="module")
def columns(files: dict[str, list[Path]]) -> list[pq.ColumnSchema]:
    """The leaf columns of one file of each table and recipe."""
    found = [pq.ParquetFile(paths[0]).schema for paths in files.values()]
    return [schema.column(number) for schema in found for number in range(len(schema))]


def test_types(columns: list[pq.ColumnSchema]) -> None:
    for column in columns:
        logical = str(column.logical_type).partition(", is_from_converted_type")[0]
        logical += ")" if "(" in logical and not logical.endswith(")") else ""
        assert (column.physical_type, logical) in TYPES, column.path


def test_lists_have_the_three_levels_of_list_inference(columns: list[pq.ColumnSchema]) -> None:
    """``enable_list_inference`` makes an array of a LIST, whose levels are called list and element."""
    lists = {column.path for column in columns if column.max_repetition_level}
    assert lists == {
        *(f"top_k.list.element.{name}" for name in ("class_id", "wnid", "label", "score")),
        *("probabilities.list.element", "embedding.list.element", "tables.list.element"),
    }
    for column in columns:
        parts = column.path.split(".")
        assert parts.count("list") == column.max_repetition_level
        assert all(parts[number + 1] == "element" for number, part in enumerate(parts) if part == "list")


def test_arrays_and_their_elements_are_not_null(columns: list[pq.ColumnSchema]) -> None:
    """An optional level adds 1 to the definition level. A REQUIRED column has none, a repeated one has one."""
    optional = {c.path for c in columns if c.max_definition_level > c.max_repetition_level}
    assert optional == {"wnid", "top_k.list.element.wnid", "version"}  # ``version`` of failures


def test_nesting(columns: list[pq.ColumnSchema]) -> None:
    for column in columns:
        records = [part for part in column.path.split(".") if part not in ("list", "element")]
        assert len(records) <= MAX_DEPTH
        assert column.max_repetition_level <= 1, "BigQuery has no arrays of arrays"


def test_names(columns: list[pq.ColumnSchema]) -> None:
    for name in {part for column in columns for part in column.path.split(".")} | set(catalogs.PARTITIONS):
        assert re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,299}", name), name
        assert not name.upper().startswith(RESERVED), name


def test_names_differ_also_without_case(files: dict[str, list[Path]]) -> None:
    for paths in files.values():
        names = [name.lower() for name in pq.read_schema(paths[0]).names]
        assert len(set(names)) == len(names)


@pytest.mark.parametrize("probabilities", [False, True])
def test_numbers_of_columns(probabilities: bool) -> None:
    """A vector is one column, however wide it is."""
    for schema in (
        schemas.predictions(21_843, probabilities=probabilities),
        schemas.embeddings(8192),
        schemas.FAILURES,
    ):
        assert len(schema) + len(catalogs.PARTITIONS) <= MAX_COLUMNS
        data = writer.to_parquet(schema.empty_table(), {})
        assert len(pq.ParquetFile(io.BytesIO(data)).schema) <= MAX_COLUMNS


def test_partitions(files: dict[str, list[Path]]) -> None:
    """The keys have the same order in each path, no file has a column of their names, and the values have one type."""
    for table, paths in files.items():
        for path in paths:
            keys = [part.partition("=")[0] for part in path.parts if "=" in part]
            assert keys == (["dt"] if table == "failures" else ["model", "dt"])
            assert not {name.lower() for name in pq.read_schema(path).names} & set(catalogs.PARTITIONS)
            assert date.fromisoformat(path.parent.name.removeprefix("dt="))
            model = path.parents[1].name.removeprefix("model=")
            assert table == "failures" or re.search("[a-z]-[0-9a-f]{8}$", model), "not a number or a date"


def test_files_of_a_recipe_have_the_same_columns_in_the_same_order(files: dict[str, list[Path]]) -> None:
    """Else a load job refuses a wildcard."""
    for paths in files.values():
        assert len(paths) == len(catalogs.DAYS)
        first, *others = (pq.ParquetFile(path).schema for path in paths)
        assert all(other.equals(first) for other in others)


def test_row_groups_have_16_mib(tmp_path: Path) -> None:
    """Only the last one of a file may be smaller."""
    width, rows = 2304, 1000
    spec = ModelSpec(name="wide", task="embed", size=16, width=width, output="features")
    recipe = Recipe(spec, "/bundle", "ab" * 32, "a test")
    random = np.random.default_rng(0)
    units = []
    for number in range(6):
        columns: dict[str, schemas.Column] = {
            "uri": [f"gs://bucket/{number}/{row}.jpg" for row in range(rows)],
            **{name: ["1"] * rows for name in ("version", "sha256", "recipe", "run_id")},
            "embedding": random.standard_normal((rows, width), np.float32),
        }
        uri = layout.unit_file(str(tmp_path), "r1", recipe.table, "2026-11-20", f"u{number}")
        size = writer.put(uri, schemas.to_arrow(columns, schemas.embeddings(width)), recipe.metadata())
        units.append(publish.UnitFile(recipe.table, "2026-11-20", uri, size, rows))
    (group,) = publish.group(units)
    publish.publish(group, str(tmp_path), "", "r1")
    (path,) = reader.parts(layout.folder(str(tmp_path), recipe.table))
    metadata = pq.ParquetFile(path).metadata
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    assert len(groups) == 2
    for each in groups[:-1]:
        compressed = sum(each.column(number).total_compressed_size for number in range(each.num_columns))
        assert MIN_ROW_GROUP <= compressed <= each.total_byte_size <= 4 * MIN_ROW_GROUP
