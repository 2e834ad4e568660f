"""Read the URIs in a manifest: .txt, .csv, .tsv, .jsonl or .parquet, each of them also as .gz."""

from __future__ import annotations

import gzip
import importlib.util
import io
import json
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import IO, Any, BinaryIO, NamedTuple, cast

import pyarrow as pa
import pyarrow.parquet as pq

from transforms import defaults
from transforms.errors import UsageError
from transforms.storage import files

KINDS = (".txt", ".csv", ".tsv", ".jsonl", ".parquet")

_CELL = 1 << 24  # characters in a cell of a .csv. It bounds what is read after a quote that is not closed.
_SAMPLE = 100  # a .jsonl is refused if none of its first 100 records has the column
_TEXT = (pa.string(), pa.large_string(), pa.binary(), pa.large_binary())  # some writers store strings as bytes


def _private_csv() -> Any:
    """Return a copy of the module behind ``csv`` with a larger limit on cells, which is one value for each copy.

    The limit of ``csv`` itself, 131,072 characters, belongs to the whole process.
    """
    spec = importlib.util.find_spec("_csv")
    if spec is None or spec.loader is None:
        raise ImportError("this Python has no module _csv")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.field_size_limit(_CELL)
    return module


_csv_module = _private_csv()


class Line(NamedTuple):
    """The number of a line, from 1, and its URI or its fault."""

    number: int
    uri: str | None
    fault: str | None = None


def kind(uri: str) -> str | None:
    """Return the kind of a manifest by its name, such as ``.csv``. None if the name is not a manifest's."""
    name = uri.lower().removesuffix(".gz")
    return next((suffix for suffix in KINDS if name.endswith(suffix)), None)


def lines(uri: str, column: str = defaults.URI_COLUMN) -> Iterator[Line]:
    """Yield the lines of a manifest as a stream, without empty lines and comments.

    Args:
        uri: The manifest.
        column: The column of the URIs. A .txt has no columns.

    Raises:
        UsageError: The manifest lacks the column, or cannot be read to its end. Its remaining images must not be
            ignored silently.
        FetchError: The manifest does not exist or cannot be read.
    """
    suffix = kind(uri)
    if suffix is None:
        raise UsageError(
            f"{uri} is not a manifest; its name must end in {', '.join(KINDS)}, or in one of these and .gz"
        )
    with files.open(uri) as raw:
        compressed = uri.lower().endswith(".gz")
        stream = cast(BinaryIO, gzip.GzipFile(fileobj=raw)) if compressed else raw
        try:
            if suffix == ".parquet":
                # Parquet is read from its end. A gzip stream cannot seek there, so it is read as a whole.
                yield from _parquet(io.BytesIO(stream.read()) if compressed else stream, column, uri)
            else:
                text = io.TextIOWrapper(stream, encoding="utf-8-sig", errors="surrogateescape", newline="")
                yield from _READERS[suffix](text, column, uri)
        except (EOFError, OSError, zlib.error, pa.ArrowException) as error:
            raise UsageError(
                f"{uri} cannot be read to its end ({error}); create the manifest again, because the job needs all of it"
            ) from error


def _txt(text: IO[str], _column: str, _uri: str) -> Iterator[Line]:
    for number, line in enumerate(text, 1):
        name = line.strip()
        if name and not name.startswith("#"):
            yield _line(number, name)


def _csv(text: IO[str], column: str, uri: str, delimiter: str = ",") -> Iterator[Line]:
    source = _Rewindable(text)
    rows = _csv_module.reader(source, delimiter=delimiter, strict=True)
    index = None
    while True:
        source.mark()
        try:
            row = next(rows, None)
        except _csv_module.Error as error:
            # A quote that is not closed includes the lines below it. Only the line with the quote has a fault.
            if index is None:
                raise UsageError(f"{uri}: line {source.number} is not a valid header: {error}") from error
            yield Line(source.number, None, f"is not a valid row: {error}; check for a quote that is not closed")
            source.rewind()
            continue
        if row is None:
            return
        if source.is_blank():
            continue
        if index is None:
            header = [name.strip() for name in row]
            _require(column, header, uri)
            index = header.index(column)
        elif len(row) > index:
            name = row[index].strip()
            if _is_broken(name):
                source.rewind()
            yield _line(source.number, name)
        else:
            yield Line(
                source.number,
                None,
                f"has only {len(row)} column{'' if len(row) == 1 else 's'}, but {column!r} is column {index + 1}",
            )


class _Rewindable:
    """The lines of a text. ``rewind`` returns to the second line after the last ``mark``."""

    def __init__(self, text: IO[str]) -> None:
        self._text = text
        self._lines: list[str] = []
        self._rewound: list[str] = []  # in reverse order
        self.number = 1  # of the first line after the mark

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._rewound.pop() if self._rewound else next(self._text)
        self._lines.append(line)
        return line

    def mark(self) -> None:
        self.number += len(self._lines)
        self._lines.clear()

    def rewind(self) -> None:
        self._rewound.extend(reversed(self._lines[1:]))
        del self._lines[1:]

    def is_blank(self) -> bool:
        """Return whether one line of white space was read since the mark."""
        return self._lines[0].isspace() and len(self._lines) == 1


def _tsv(text: IO[str], column: str, uri: str) -> Iterator[Line]:
    return _csv(text, column, uri, "\t")


def _jsonl(text: IO[str], column: str, uri: str) -> Iterator[Line]:
    seen = False
    early: list[Line] = []  # held back until a line has the column
    for number, line in enumerate(text, 1):
        if line.isspace():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            yield Line(number, None, f"is not JSON: {getattr(error, 'msg', error)}")
            continue
        if isinstance(record, dict) and column in record:
            if not seen:
                yield from early
                seen = True
            value = record[column]
            if isinstance(value, str):
                yield _line(number, value.strip())
            else:
                yield Line(number, None, f"has {json.dumps(value)[:80]} as {column!r}, which is not a string")
        elif seen:
            yield Line(number, None, f"has no {column!r}")
        else:
            early.append(Line(number, None, f"has no {column!r}"))
            if len(early) == _SAMPLE:
                break
    if early and not seen:
        raise UsageError(
            f"{uri}: none of the first {len(early)} lines has the column {column!r}; pass its name with --uri-column"
        )


def _parquet(stream: BinaryIO, column: str, uri: str) -> Iterator[Line]:
    file = pq.ParquetFile(stream, pre_buffer=False)  # a pre-buffer would hold the whole column in memory
    _require(column, file.schema_arrow.names, uri)
    stored = file.schema_arrow.field(column).type
    text = stored.value_type if pa.types.is_dictionary(stored) else stored
    if text not in _TEXT:
        raise UsageError(
            f"{uri}: the column {column!r} has the type {stored}, not string; pass another column with --uri-column"
        )
    number = 0
    for batch in file.iter_batches(columns=[column]):
        # Strings are read as bytes, because one string that is not UTF-8 would end the whole read.
        for value in batch.column(0).cast(text).cast(pa.large_binary()).to_pylist():
            number += 1
            if value is None:
                yield Line(number, None, "is null and names no image")
            else:
                yield _line(number, value.decode("utf-8", "surrogateescape").strip())


_READERS: dict[str, Callable[[IO[str], str, str], Iterator[Line]]] = {
    ".txt": _txt,
    ".csv": _csv,
    ".tsv": _tsv,
    ".jsonl": _jsonl,
}


def _require(column: str, columns: Sequence[str], uri: str) -> None:
    if column not in columns:
        names = ", ".join(map(repr, columns[:20])) + (", ..." if len(columns) > 20 else "")
        raise UsageError(f"{uri} has no column {column!r}; its columns are {names[:1000]}; pass one with --uri-column")
    if (times := columns.count(column)) > 1:
        raise UsageError(
            f"{uri} has {times} columns {column!r}; rename them, or pass the one with the URIs with --uri-column"
        )


def _line(number: int, uri: str) -> Line:
    if not uri:
        return Line(number, None, "is empty and names no image")
    if not is_text(uri):
        return Line(number, None, "is not UTF-8")
    if _is_broken(uri):
        return Line(number, None, "has a line break in its URI; check for a quote that is not closed")
    return Line(number, uri)


def _is_broken(uri: str) -> bool:
    return "\n" in uri or "\r" in uri


def is_text(uri: str) -> bool:
    """Return whether a name can be written to a table: it is valid UTF-8 without lone surrogates."""
    try:
        uri.encode()
    except UnicodeEncodeError:
        return False
    return True
