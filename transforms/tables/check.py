"""Check that an output keeps its contract.

- Each file in the folders of the tables is a part of a table, can be read to its end, and states its recipe.
- Each URI and version is in one row of a table. A failure is in one row for each attempt.
- The key index has the keys of the published rows and no others.

All files are read. Keys are compared in buckets on the local disk, so memory does not depend on their number.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from beamsight.text import count
from transforms import member_uris
from transforms.errors import FetchError, UsageError
from transforms.prefetch import prefetch
from transforms.tables import inventory, key_index, layout, reader, rebuild
from transforms.tables.inventory import Contents
from transforms.tables.key_index import KeyIndex
from transforms.tables.spill import Buckets, count_buckets

_THREADS = 4  # files that are read at once, each with a row group in memory

_ORIGIN = ("version", "run_id")
_RECIPE = ("model", "source", "content_hash", "recipe", "preprocessing", "precision", "engine", *_ORIGIN)

_KEYS = pa.schema([*key_index.DONE, pa.field("file", pa.int32())])
_FAILED_KEYS = pa.schema(
    [*_KEYS, ("attempt", pa.int32()), ("retryable", pa.bool_()), ("tables", pa.list_(pa.string()))]
)
_SHARD_KEYS = pa.schema(
    [
        *_KEYS,
        ("attempt", pa.int32()),
        ("retryable", pa.bool_()),
        ("images", pa.int64()),
        ("failed", pa.int64()),
        ("broken", pa.bool_()),
    ]
)


def _schema_of(table: str) -> pa.Schema:
    if layout.is_of_shards(table):
        return _SHARD_KEYS
    return _FAILED_KEYS if table == layout.FAILURES else _KEYS


class _File(NamedTuple):
    """The keys of a file, and what is wrong with the file."""

    keys: pa.Table
    faults: list[str]
    is_whole: bool


def check(output: str) -> Iterator[str]:
    """Yield a sentence for each violation of the contract.

    Raises:
        UsageError: There are no tables, or they changed during the check.
    """
    contents = inventory.read(output)
    for uri in contents.strays:
        yield f"{layout.relative(output, uri)} is not a file of the tables; move it to another folder"
    for table in sorted(contents.tables.keys() | contents.indexed):
        with tempfile.TemporaryDirectory(prefix="beamsight-") as scratch:
            yield from _check_table(contents, table, Path(scratch))
    for table, units in groupby(contents.units, key=lambda unit: unit.table):
        for read in _read_all(output, table, [unit.uri for unit in units]):
            yield from read.faults
    if inventory.read(output) != contents:
        raise UsageError(f"the tables in {output} changed during the check; check again while no run works on them")


def _check_table(contents: Contents, table: str, scratch: Path) -> Iterator[str]:
    """Yield the violations in a table and its index."""
    uris = [each.uri for each in contents.tables.get(table, ())]
    buckets = count_buckets(len(uris))
    rows = Buckets(scratch / "rows", buckets, _schema_of(table))
    faults: list[str] = []
    damaged = 0

    def keys() -> Iterator[pa.Table]:
        nonlocal damaged
        for each in _read_all(contents.output, table, uris):
            faults.extend(each.faults)
            damaged += not each.is_whole
            yield each.keys

    rows.add(keys())
    yield from sorted(faults)
    index = Buckets(scratch / "index", buckets, key_index.schema_of(table))
    index_faults = list(_read_index(contents, table, index))
    yield from index_faults
    problems = _Problems(table, [layout.relative(contents.output, uri) for uri in uris])
    for bucket in range(buckets):
        in_rows = rows.read(bucket)
        problems.find_repeated(in_rows)
        if not damaged and not index_faults:
            problems.compare(key_index.sort_keys(rebuild.keys_of(in_rows, table)), index.read(bucket))
    yield from problems.describe(contents.output)


def _read_all(output: str, table: str, uris: Sequence[str]) -> Iterator[_File]:
    """Read files to their ends, some at once."""
    return prefetch(enumerate(uris), partial(_read, output, table), threads=_THREADS, window=2 * _THREADS)


def _read(output: str, table: str, file: tuple[int, str]) -> _File:
    """Read a file to its end."""
    number, uri = file
    name = layout.relative(output, uri)
    schema = _schema_of(table)
    pieces = [schema.empty_table()]
    recipes: set[str | None] = set()
    try:
        _, footer = reader.footer(uri)
        for group in reader.every_row(uri):
            lacking = set(schema.names) - {"file", "attempt"} - set(group.column_names)
            if lacking:
                return _File(pieces[0], [f"{name} has no column {', '.join(sorted(lacking))}"], False)
            if "recipe" in group.column_names:
                recipes.update(pc.unique(group["recipe"]).to_pylist())
            pieces.append(_select(group, number, schema))
    except FetchError as error:
        return _File(pieces[0], [str(error)], False)
    return _File(pa.concat_tables(pieces), list(_check_origin(name, table, footer, recipes)), True)


def _select(group: pa.Table, number: int, schema: pa.Schema) -> pa.Table:
    others = {"file": pa.repeat(number, group.num_rows), "attempt": pa.nulls(group.num_rows)}
    columns = [group[name] if name in group.column_names else others[name] for name in schema.names]
    columns[0] = key_index.to_keys(columns[0])
    return pa.Table.from_arrays(columns, schema.names).cast(schema)


def _check_origin(name: str, table: str, footer: dict[str, str], recipes: set[str | None]) -> Iterator[str]:
    """Compare the recipe in the footer and in the column with that of the folder."""
    lacking = [key for key in (_ORIGIN if table == layout.FAILURES else _RECIPE) if not footer.get(key)]
    if lacking:
        yield f"{name} has no {', '.join(f'beamsight.{key}' for key in lacking)} in its footer"
    elif table != layout.FAILURES:
        folder = table.partition("/model=")[2]
        stated = {f"{footer['model']}-{footer['recipe']}", *recipes}
        if stated != {folder}:
            others = ", ".join(sorted(map(str, stated - {folder})))
            yield f"{name} has rows of {others}, which do not belong to its folder"


def _read_index(contents: Contents, table: str, into: Buckets) -> Iterator[str]:
    """Copy the keys of an index into buckets, and yield what makes it unusable."""
    state = inventory.index_state(contents, table)
    if state != "current":
        yield f"{table}: the key index is {state}; the next run makes it again, or `beamsight index rebuild`"
        return
    index_files = contents.index_files(table)
    index = KeyIndex(contents.output, table, index_files)
    for each in index_files:
        try:
            pieces = list(index.read_sorted(each))
        except (FetchError, pa.ArrowException, OSError) as error:
            yield f"{table}: the index file {each.name} cannot be read ({error}); run `beamsight index rebuild`"
            continue
        into.add(pieces)
        uris = pa.chunked_array([piece["uri"] for piece in pieces]).combine_chunks()
        in_order = pc.all(pc.less_equal(uris[:-1], uris[1:])).as_py() is not False
        if not in_order or (uris[0].as_py(), uris[-1].as_py()) != (each.first, each.last):
            yield f"{table}: the index file {each.name} is not sorted as it states; run `beamsight index rebuild`"


class _Problems:
    """Counts keys that violate the contract, with an example of each kind."""

    def __init__(self, table: str, names: list[str]) -> None:
        self._table, self._names = table, names
        self._found: Counter[str] = Counter()
        self._examples: dict[str, str] = {}

    def find_repeated(self, rows: pa.Table) -> None:
        """Find keys with more than one row. Early files of the failures have no attempts, so they may repeat keys."""
        columns = ["uri", "version"]
        if self._table == layout.FAILURES:
            rows = rows.filter(pc.is_valid(rows["attempt"]))
            joined = pc.binary_join(rows["tables"], " ")
            rows = rows.append_column("lacking", joined)
            columns += ["attempt", "lacking"]
        elif layout.is_of_shards(self._table):
            columns.append("attempt")
        counted = rows.group_by(columns).aggregate([("file", "min"), ("file", "max"), ([], "count_all")])
        repeated = counted.filter(pc.greater(counted["count_all"], 1))
        for row in repeated.slice(0, 1).to_pylist():
            names = sorted({self._names[row["file_min"]], self._names[row["file_max"]]})
            self._examples.setdefault("repeated", f"{_name(row)} in {' and '.join(names)}")
        self._found["repeated"] += repeated.num_rows

    def compare(self, in_table: pa.Table, in_index: pa.Table) -> None:
        """Find keys that only one of the table and its index has."""
        sides = [
            keys.append_column("side", pa.repeat(side, keys.num_rows))
            for side, keys in (("lacks", in_table), ("adds", key_index.sort_keys(in_index)))
        ]
        counted = (
            pa.concat_tables(sides).group_by(in_table.column_names).aggregate([("side", "min"), ([], "count_all")])
        )
        alone = counted.filter(pc.equal(counted["count_all"], 1))
        for side in ("lacks", "adds"):
            found = alone.filter(pc.equal(alone["side_min"], side))
            self._found[side] += found.num_rows
            for row in found.slice(0, 1).to_pylist():
                self._examples.setdefault(side, _name(row))

    def describe(self, output: str) -> Iterator[str]:
        """Yield a sentence for each kind of problem."""
        remedy = f"run `beamsight index rebuild {output}`"
        for kind, text in (
            ("repeated", "more than one row for {}, such as {}"),
            ("lacks", f"the key index has no entry for {{}} of the table, such as {{}}; {remedy}"),
            ("adds", f"the key index has {{}} that the table does not have, such as {{}}; {remedy}"),
        ):
            if self._found[kind]:
                yield f"{self._table}: {text.format(count(self._found[kind], 'key'), self._examples[kind])}"


def _name(row: dict[str, object]) -> str:
    return f"{member_uris.from_key(str(row['uri']))} (version {row['version']})"
