"""Publish finished units: merge their files by table and day into files that readers read.

The order of the steps makes a kill at any moment harmless:

1. Write the index file of the keys. It does not count yet, because the published file does not exist.
2. Write the published file, whole, if this run still holds the lock.
3. Delete the files of the units.

The name of a published file is a hash of the paths of its units, so a repetition writes the same file. What a killed
run left is published by the next run: ``undo`` deletes index files without a published file, and ``list_leftovers``
lists the units. Rows whose key is in the index already are left out.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from itertools import groupby
from typing import Any, NamedTuple

import pyarrow as pa

from transforms import defaults
from transforms.errors import FetchError, NotFound, Stopped
from transforms.storage import files
from transforms.tables import key_index, layout, reader, writer
from transforms.tables.key_index import IndexFile, KeyIndex

FILE_BYTES = 256 << 20
FILE_ROWS = 250_000  # The keys of a file are held in memory.

_READERS = 8  # units that are read ahead; one has some megabytes


class UnitFile(NamedTuple):
    """A file of a finished unit. It is a tuple because Beam shuffles it."""

    table: str
    day: str
    uri: str
    size: int
    rows: int


class Group(NamedTuple):
    """Units that become one published file."""

    table: str
    day: str
    uris: tuple[str, ...]

    @property
    def name(self) -> str:
        """The name of the published file: 20 hex digits. The paths contain the run, so no other run has this name."""
        return hashlib.sha256("\n".join(self.uris).encode()).hexdigest()[:20]


class Published(NamedTuple):
    """What was published: the files, the rows in them, and the rows that were there already."""

    files: int
    rows: int
    duplicates: int


def group(units: Iterable[UnitFile]) -> Iterator[Group]:
    """Group units by table and day into files of about ``FILE_BYTES``. The order of the units makes no difference."""
    ordered = sorted(set(units), key=lambda unit: (unit.table, unit.day, files.name(unit.uri), unit.uri))
    for (table, day), members in groupby(ordered, key=lambda unit: (unit.table, unit.day)):
        uris: list[str] = []
        size = rows = 0
        for unit in members:
            if uris and (size + unit.size > FILE_BYTES or rows + unit.rows > FILE_ROWS):
                yield Group(table, day, tuple(uris))
                uris, size, rows = [], 0, 0
            uris.append(unit.uri)
            size, rows = size + unit.size, rows + unit.rows
        yield Group(table, day, tuple(uris))


def list_leftovers(output: str) -> dict[str, list[UnitFile]]:
    """Return the units that are not published, by the run that made them.

    A listing does not say how many rows a unit has, so a full unit of the default size is assumed.
    """
    found: dict[str, list[UnitFile]] = {}
    for stat in files.walk(layout.units_folder(output)):
        path = layout.parse_unit_file(output, stat.uri)
        if path is not None:
            unit = UnitFile(path.table, path.day, stat.uri, stat.size, defaults.UNIT_SIZE)
            found.setdefault(path.run_id, []).append(unit)
    return found


def undo(output: str, table: str) -> list[IndexFile]:
    """Delete index files whose published file was never written. Return the others."""
    kept: list[IndexFile] = []
    dangling: list[IndexFile] = []
    for each in key_index.read_files(output, table):
        counts = each.table_file is None or files.exists(files.join(output, each.table_file))
        (kept if counts else dangling).append(each)
    key_index.delete(output, table, [each.name for each in dangling])
    return kept


def publish(group_: Group, output: str, token: str, run_id: str) -> Published:
    """Publish a group of units, and delete their files.

    Args:
        group_: The units.
        output: The folder of the tables.
        token: The token of the lock that this run holds; empty if nothing else can write to the output.
        run_id: The run that publishes.

    Raises:
        Stopped: Another run holds the lock. Nothing was published.
        FetchError: A unit cannot be read.
    """
    table, day, uris = group_
    target = layout.table_file(output, table, day, group_.name)
    if files.exists(target):  # An earlier attempt was killed before it deleted the units.
        _delete_all(uris)
        return Published(0, 0, 0)
    key_index.delete(output, table, [group_.name])
    keys = _NewKeys(KeyIndex(output, table))
    written = duplicates = 0
    with suppress(_NothingNew), files.create(target) as sink, ExitStack() as stack:
        groups: writer.RowGroups | None = None
        for unit in _read(uris, output, token):
            new = unit.filter(keys.add(unit))
            written, duplicates = written + new.num_rows, duplicates + unit.num_rows - new.num_rows
            if groups is None:
                own = {"published_by": run_id, "lock": token, "units": json.dumps(_names(uris))}
                schema = unit.schema.remove_metadata()
                groups = stack.enter_context(writer.RowGroups(writer.open_parquet(sink, schema, _metadata(unit) | own)))
            groups.add(new.replace_schema_metadata(None))
        if not written:
            raise _NothingNew
        stack.close()
        about = IndexFile(group_.name, table_files=1, table_file=layout.relative(output, target))
        key_index.put(output, table, keys.to_arrow(), about)
        require_lock(output, token)
    _delete_all(uris)
    return Published(int(written > 0), written, duplicates)


def require_lock(output: str, token: str) -> None:
    """Raise Stopped if the lock of the output does not have this token."""
    if not token:
        return
    try:
        found = json.loads(files.read(layout.lock(output))[0])["token"]
    except (NotFound, ValueError, KeyError):
        found = None
    if found != token:
        raise Stopped(f"lost the lock {layout.lock(output)}, so nothing more was written; run the same command again")


class _NothingNew(Exception):
    """All rows of a group are published already."""


class _NewKeys:
    """The keys of a group that the table does not have yet.

    Failures have a key for each table and attempt, and shards one for each attempt.
    """

    def __init__(self, index: KeyIndex) -> None:
        self._index = index
        self._failures = index.table == layout.FAILURES
        self._columns: tuple[str, ...] = ("uri", "version")
        if self._failures:
            self._columns = (*self._columns, "attempt", "tables", "retryable")
        elif layout.is_of_shards(index.table):
            self._columns = (*self._columns, "attempt", "retryable", "images", "failed", "broken")
        self._attempts: dict[tuple[Any, ...], int] = {}  # by key; 1 for a row of a result
        self._new: list[tuple[Any, ...]] = []

    def add(self, unit: pa.Table) -> pa.BooleanArray:
        """Return which rows of a unit are new, as a mask."""
        for *key, attempts in self._rows(self._index.find(sorted(set(unit["uri"].to_pylist())))):
            self._attempts[tuple(key)] = max(attempts, self._attempts.get(tuple(key), 0))
        columns = (unit[name].to_pylist() for name in self._columns)
        return pa.array([self._add_row(*row) for row in zip(*columns, strict=True)])

    def _add_row(self, uri: str, version: str, attempt: int | None = None, *values: Any) -> bool:
        keys: list[tuple[Any, ...]] = [(uri, version)]
        if self._failures:
            tables, *values = values  # type: ignore[assignment]
            keys = [(uri, version, table) for table in tables]
        if all(self._attempts.get(key, 0) >= (attempt or 1) for key in keys):
            return False
        for key in keys:
            self._attempts[key] = attempt or 1
            self._new.append(key if attempt is None else (*key, attempt, *values))
        return True

    def _rows(self, known: pa.Table) -> Iterator[tuple[Any, ...]]:
        names = [name for name in ("uri", "version", "table", "attempts") if name in known.column_names]
        columns = [known[name].to_pylist() for name in names]
        yield from zip(*columns, *([] if "attempts" in names else [[1] * known.num_rows]), strict=True)

    def to_arrow(self) -> pa.Table:
        """Return the new keys as rows of the index."""
        schema = key_index.schema_of(self._index.table)
        columns = list(zip(*self._new, strict=True))
        arrays = [pa.array(values, field.type) for values, field in zip(columns, schema, strict=True)]
        keys = pa.Table.from_arrays(arrays, schema=schema)
        return key_index.sort_keys(keys.set_column(0, schema.field(0), key_index.to_keys(keys["uri"])))


def _read(uris: Sequence[str], output: str, token: str) -> Iterator[pa.Table]:
    """Yield the tables of the units in their order, with some of them read ahead."""
    try:
        with ThreadPoolExecutor(_READERS) as pool:
            for start in range(0, len(uris), _READERS):
                yield from pool.map(_read_unit, uris[start : start + _READERS])
    except FetchError:
        require_lock(output, token)  # a run that took over the lock publishes these units too, and deletes them
        raise


def _read_unit(uri: str) -> pa.Table:
    return pa.concat_tables(reader.every_row(uri))


def _metadata(unit: pa.Table) -> dict[str, str]:
    pairs = ((key.decode(), value.decode()) for key, value in (unit.schema.metadata or {}).items())
    return {key.removeprefix("beamsight."): value for key, value in pairs if key.startswith("beamsight.")}


def _names(uris: Sequence[str]) -> list[str]:
    return [files.name(uri).removesuffix(".parquet") for uri in uris]


def _delete_all(uris: Sequence[str]) -> None:
    with ThreadPoolExecutor(_READERS) as pool:
        list(pool.map(files.delete, uris))
