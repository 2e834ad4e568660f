"""A manifest -> the URIs that it names, line by line: .txt, .csv, .tsv, .jsonl, .parquet, and each of them .gz."""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import IO, BinaryIO, NamedTuple, cast

import pyarrow as pa
import pyarrow.parquet as pq

from transforms import defaults
from transforms.errors import UsageError
from transforms.storage import files

KINDS = (".txt", ".csv", ".tsv", ".jsonl", ".parquet")

_SAMPLE = 100  # lines of a .jsonl without the column, until it is clear that none has it
_TEXT = (pa.string(), pa.large_string(), pa.binary(), pa.large_binary())  # what some writers give strings out as


class Line(NamedTuple):
    """Where in the manifest (from 1), and the URI there, or why there is none."""

    number: int
    uri: str | None
    fault: str | None = None


def kind(uri: str) -> str | None:
    """The kind of a manifest by its name, such as ``.csv``; None for what is no manifest."""
    name = uri.lower().removesuffix(".gz")
    return next((suffix for suffix in KINDS if name.endswith(suffix)), None)


def lines(uri: str, column: str = defaults.URI_COLUMN) -> Iterator[Line]:
    """Read a manifest as a stream. Lines that name nothing come with their fault; empty lines and comments do not.

    Raises UsageError for a manifest that lacks the column or cannot be read to its end: what it would still have named
    must not be left out in silence. Raises FetchError for one that is not there.
    """
    suffix = kind(uri)
    if suffix is None:
        raise UsageError(f"{uri} is no manifest; its name must end in {', '.join(KINDS)} or one of them and .gz")
    with files.open(uri) as raw:
        zipped = uri.lower().endswith(".gz")
        stream = cast(BinaryIO, gzip.GzipFile(fileobj=raw)) if zipped else raw
        try:
            if suffix == ".parquet":
                # Parquet is read from its end: what cannot be gone back in is read as a whole.
                yield from _parquet(io.BytesIO(stream.read()) if zipped else stream, column, uri)
            else:
                text = io.TextIOWrapper(stream, encoding="utf-8-sig", errors="surrogateescape", newline="")
                yield from _READERS[suffix](text, column, uri)
        except (EOFError, OSError, zlib.error, pa.ArrowException) as error:
            raise UsageError(
                f"{uri} cannot be read to its end ({error}); make it again, the job needs all of it"
            ) from error


def _txt(text: IO[str], _column: str, _uri: str) -> Iterator[Line]:
    for number, line in enumerate(text, 1):
        name = line.strip()
        if name and not name.startswith("#"):
            yield _line(number, name)


def _csv(text: IO[str], column: str, uri: str, delimiter: str = ",") -> Iterator[Line]:
    source = _Rewindable(text)
    rows = csv.reader(source, delimiter=delimiter, strict=True)
    index = None
    while True:
        source.mark()
        try:
            row = next(rows, None)
        except csv.Error as error:
            # A quote that nothing closes takes in the lines below it. Only its own is at fault.
            if index is None:
                raise UsageError(f"{uri}: line {source.number} is no header: {error}") from error
            yield Line(source.number, None, f"is no row of a table: {error}; is a quote left open?")
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
            yield Line(source.number, None, f"has {len(row)} columns where {column!r} is number {index + 1}")


class _Rewindable:
    """Lines of a text; those taken since the last ``mark`` can be had again, but for the first of them."""

    def __init__(self, text: IO[str]) -> None:
        self._text = text
        self._taken: list[str] = []
        self._again: list[str] = []  # the next one last
        self.number = 1  # of the first line taken since the mark

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._again.pop() if self._again else next(self._text)
        self._taken.append(line)
        return line

    def mark(self) -> None:
        self.number += len(self._taken)
        self._taken.clear()

    def rewind(self) -> None:
        self._again.extend(reversed(self._taken[1:]))
        del self._taken[1:]

    def is_blank(self) -> bool:
        """Whether nothing but white space was taken since the mark."""
        return self._taken[0].isspace() and len(self._taken) == 1


def _tsv(text: IO[str], column: str, uri: str) -> Iterator[Line]:
    return _csv(text, column, uri, "\t")


def _jsonl(text: IO[str], column: str, uri: str) -> Iterator[Line]:
    seen = False
    early: list[Line] = []  # held back until it is clear that other lines have the column
    for number, line in enumerate(text, 1):
        if line.isspace():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            yield Line(number, None, f"is no JSON: {getattr(error, 'msg', error)}")
            continue
        if isinstance(record, dict) and column in record:
            if not seen:
                yield from early
                seen = True
            value = record[column]
            if isinstance(value, str):
                yield _line(number, value.strip())
            else:
                yield Line(number, None, f"has {json.dumps(value)[:80]} where {column!r} should be a string")
        elif seen:
            yield Line(number, None, f"has no {column!r}")
        else:
            early.append(Line(number, None, f"has no {column!r}"))
            if len(early) == _SAMPLE:
                break
    if early and not seen:
        raise UsageError(f"{uri}: none of its first {len(early)} lines has {column!r}; name one with --uri-column")


def _parquet(stream: BinaryIO, column: str, uri: str) -> Iterator[Line]:
    file = pq.ParquetFile(stream, pre_buffer=False)  # else the column is held as a whole
    _require(column, file.schema_arrow.names, uri)
    stored = file.schema_arrow.field(column).type
    text = stored.value_type if pa.types.is_dictionary(stored) else stored
    if text not in _TEXT:
        raise UsageError(f"{uri}: its column {column!r} holds {stored} and not strings; name another with --uri-column")
    number = 0
    for batch in file.iter_batches(columns=[column]):
        # As bytes, since one string that is not UTF-8 would else end it all.
        for value in batch.column(0).cast(text).cast(pa.large_binary()).to_pylist():
            number += 1
            if value is None:
                yield Line(number, None, "names no image: it is null")
            else:
                yield _line(number, value.decode("utf-8", "surrogateescape").strip())


_READERS: dict[str, Callable[[IO[str], str, str], Iterator[Line]]] = {
    ".txt": _txt,
    ".csv": _csv,
    ".tsv": _tsv,
    ".jsonl": _jsonl,
}


def _require(column: str, there: Sequence[str], uri: str) -> None:
    if column not in there:
        names = ", ".join(map(repr, there[:20])) + (", ..." if len(there) > 20 else "")
        raise UsageError(f"{uri} has no column {column!r}; it has {names[:1000]}: use --uri-column")


def _line(number: int, uri: str) -> Line:
    if not uri:
        return Line(number, None, "names no image: it is empty")
    if not is_text(uri):
        return Line(number, None, "is not UTF-8")
    if _is_broken(uri):
        return Line(number, None, "has a line break in its name: is a quote left open?")
    return Line(number, uri)


def _is_broken(uri: str) -> bool:
    return "\n" in uri or "\r" in uri


def is_text(uri: str) -> bool:
    """Whether a name can be written into a table: no bytes that were not UTF-8, no lone surrogates."""
    try:
        uri.encode()
    except UnicodeEncodeError:
        return False
    return True
