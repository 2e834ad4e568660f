"""List what an output holds: the files of the tables, other files among them, and units that are not published."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import NamedTuple

from beamsight.text import count
from transforms.errors import FetchError, UsageError
from transforms.prefetch import prefetch
from transforms.storage import files
from transforms.tables import key_index, layout, publish, reader
from transforms.tables.key_index import IndexFile
from transforms.tables.publish import UnitFile

_THREADS = 16


class TableFile(NamedTuple):
    """A published file of a table. ``day`` is the logical day of its rows."""

    day: str
    uri: str
    size: int
    version: str


@dataclass(frozen=True)
class Contents:
    """What an output holds.

    Attributes:
        output: The folder of the tables.
        tables: The files by table, sorted by day and URI.
        units: Files of units that are not published.
        strays: Files that are neither a part of a table nor a unit, but lie in their folders.
        indexed: The tables that have index files. A table without files may have some.
    """

    output: str
    tables: dict[str, list[TableFile]] = field(default_factory=dict)
    units: list[UnitFile] = field(default_factory=list)
    strays: list[str] = field(default_factory=list)
    indexed: set[str] = field(default_factory=set)

    def index_files(self, table: str) -> list[IndexFile]:
        """Return the index files of a table that count. Raises FetchError if one is damaged.

        An index file whose published file does not exist belongs to a publish that was killed.
        """
        present = {layout.relative(self.output, each.uri) for each in self.tables.get(table, ())}
        found = key_index.read_files(self.output, table)
        return [each for each in found if each.table_file is None or each.table_file in present]


def read(output: str) -> Contents:
    """List the files of an output.

    Raises:
        UsageError: There are none.
    """
    contents = Contents(output)
    for kind in ("predictions", "embeddings", layout.FAILURES, layout.SHARDS):
        contents.tables.update(list_tables(output, kind, contents.strays))
    for stat in files.walk(layout.units_folder(output)):
        if layout.parse_unit_file(output, stat.uri) is None:
            contents.strays.append(stat.uri)
    contents.units.extend(sorted(chain.from_iterable(publish.list_leftovers(output).values())))
    top = layout.index_folder(output, "").rstrip("/") + "/"
    contents.indexed.update(stat.uri.removeprefix(top).rpartition("/")[0] for stat in files.walk(top))
    contents.strays.sort()
    if not (contents.tables or contents.units or contents.strays or contents.indexed):
        raise UsageError(f"{output} holds no tables; check the path")
    return contents


def list_tables(output: str, kind: str, strays: list[str] | None = None) -> dict[str, list[TableFile]]:
    """Return the files of all tables of a kind, by table, sorted by day and URI.

    Args:
        output: The folder of the tables.
        kind: ``predictions``, ``embeddings`` or ``failures``.
        strays: Receives the other files in the folder.
    """
    found: dict[str, list[TableFile]] = {}
    for stat in files.walk(layout.folder(output, kind)):
        path = layout.parse_table_file(output, stat.uri)
        if path is not None:
            found.setdefault(path.table, []).append(TableFile(path.day, stat.uri, stat.size, stat.version))
        elif strays is not None:
            strays.append(stat.uri)
    return {table: sorted(table_files) for table, table_files in found.items()}


def count_rows(table_files: Sequence[TableFile | UnitFile]) -> int:
    """Return the number of rows in some files, from their footers. Raises FetchError if one cannot be read."""
    uris = [each.uri for each in table_files]
    return sum(rows for rows, _ in prefetch(uris, reader.footer, threads=_THREADS, window=4 * _THREADS))


def index_state(contents: Contents, table: str) -> str:
    """Return the state of the key index of a table: ``current``, ``missing`` or what is wrong with it."""
    try:
        index_files = contents.index_files(table)
    except FetchError as error:
        return str(error)
    table_files = len(contents.tables.get(table, ()))
    counted = key_index.count_table_files(index_files)
    if counted == table_files:
        return "current"
    return f"of {count(counted, 'file')}, and the table has {table_files:,}" if index_files else "missing"
