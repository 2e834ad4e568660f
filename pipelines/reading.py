"""The graph that reads rows of a table back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Optional

import apache_beam as beam
import pyarrow as pa
from apache_beam.io.parquetio import ReadAllFromParquetBatched
from apache_beam.typehints.row_type import RowTypeConstraint

from beamsight.text import nearest
from transforms.errors import UsageError
from transforms.records import ClassScore
from transforms.tables import inventory, layout, reader, typed_rows

_KINDS: Mapping[str, tuple[Any, ...]] = {
    "predictions": (typed_rows.PredictionRow, typed_rows.FullPredictionRow),
    "embeddings": (typed_rows.EmbeddingRow,),
    layout.FAILURES: (typed_rows.FailureRow,),
}
_BATCH = 1_024  # rows that are Python objects at once


class Read(beam.PTransform):
    """Pipeline -> rows of the files that a table has now, distributed by file and row group.

    Args:
        output: The folder of the tables, as an absolute path or URI.
        table: ``predictions``, ``embeddings`` or ``failures``.
        recipe: The recipe to read, as the column ``recipe`` has it. None for all.
        columns: The columns to read. None for all.
    """

    def __init__(
        self, output: str, table: str, *, recipe: str | None = None, columns: Sequence[str] | None = None
    ) -> None:
        super().__init__()
        if table not in _KINDS:
            raise UsageError(f"{table!r} is not a table{nearest(table, _KINDS)}; pass one of {', '.join(_KINDS)}")
        self._output = output
        self._table = table
        self._recipe = recipe
        self._columns = columns

    def expand(self, pipeline: beam.Pipeline) -> Any:
        uris, types = self._files()
        kinds = [kind for kind in _KINDS[self._table] if list(types.items()) == list(_types(kind).items())]
        rows = (
            pipeline
            | "Files" >> beam.Create(uris)
            | "Row groups" >> ReadAllFromParquetBatched(columns=list(types), with_filename=True, label="Read")
            | "Rows" >> beam.FlatMap(_read, self._output, tuple(types), kinds[0] if kinds else None)
        )
        rows.element_type = kinds[0] if kinds else RowTypeConstraint.from_fields(list(types.items()))
        return rows

    def _files(self) -> tuple[list[str], dict[str, Any]]:
        """Return the files, and the types of the columns to read."""
        tables = inventory.list_tables(self._output, self._table)
        if self._recipe is not None:
            name = f"{self._table}/model={self._recipe}"
            known = [table.partition("=")[2] for table in tables]
            if name not in tables:
                raise UsageError(f"{self._output} has no {self._table} of the recipe {self._recipe!r}, but of {known}")
            tables = {name: tables[name]}
        if not tables:
            raise UsageError(f"{self._output} has no {self._table}; check the path")
        in_files = [set(reader.columns(table_files[-1].uri)) for table_files in tables.values()]
        types = {name: type_ for name, type_ in self._known_types().items() if any(name in names for names in in_files)}
        wanted = list(types) if self._columns is None else self._columns
        for name in wanted:
            if name not in types:
                raise UsageError(
                    f"{self._table} has no column {name!r}{nearest(name, types)}; it has {', '.join(types)}"
                )
            if any(name not in names for names in in_files):
                types[name] = Optional[types[name]]
        uris = [each.uri for table_files in tables.values() for each in table_files]
        return uris, {name: types[name] for name in wanted}

    def _known_types(self) -> dict[str, Any]:
        """Return the types of all columns that a file of the table may have, in their order."""
        return _types(_KINDS[self._table][-1])


def _types(kind: Any) -> dict[str, Any]:
    return dict(kind.__annotations__)


def _read(file: tuple[str, pa.Table], output: str, names: Sequence[str], kind: Any) -> Iterator[Any]:
    uri, table = file
    path = layout.parse_table_file(output, uri)
    return to_rows(table, names, kind, recipe=path.table.partition("=")[2] if path else "")


def to_rows(table: pa.Table, names: Sequence[str], kind: Any = None, *, recipe: str = "") -> Iterator[Any]:
    """Yield the rows of an Arrow table: floats for float32, tuples for structs, and ISO 8601 for times.

    Args:
        table: The rows. A column that its file lacks is null. Old files lack ``recipe`` and ``run_id``.
        names: The columns of the rows.
        kind: The type of the rows. None for ``beam.Row``.
        recipe: The recipe of a file without this column. Such a file has an empty ``run_id``.
    """
    for name, value in (("recipe", recipe), ("run_id", "")):
        if name not in table.column_names:
            table = table.append_column(name, pa.repeat(value, table.num_rows))
    for start in range(0, table.num_rows, _BATCH):
        part = table.slice(start, _BATCH)
        columns = [_to_list(part, name) for name in names]
        for values in zip(*columns, strict=True):
            yield kind._make(values) if kind else beam.Row(**dict(zip(names, values, strict=True)))


def _to_list(table: pa.Table, name: str) -> list[Any]:
    if name not in table.column_names:
        return [None] * table.num_rows
    column = table[name].combine_chunks()
    if pa.types.is_fixed_size_list(column.type):
        matrix: list[Any] = column.flatten().to_numpy().reshape(len(column), column.type.list_size).tolist()
        return matrix
    values: list[Any] = column.to_pylist()
    if name == "top_k":
        return [[ClassScore(**each) for each in top] for top in values]
    if pa.types.is_timestamp(column.type):
        return [value.isoformat(timespec="microseconds") for value in values]
    return values
