"""A manifest -> the URIs that it names, line by line: .txt, .csv, .tsv, .jsonl, .parquet, and each of them .gz."""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import IO, BinaryIO, NamedTuple, cast

import pyarrow as pa
import pyarrow.parquet as pq

from transforms.errors import UsageError
from transforms.storage import files

URI_COLUMN = "uri"

KINDS = (".txt", ".csv", ".tsv", ".jsonl", ".parquet")


class Line(NamedTuple):
    """Where in the manifest (from 1), and the URI there, or why there is none."""

    number: int
    uri: str | None
    fault: str | None = None


def kind(uri: str) -> str | None:
    """The kind of a manifest by its name, such as ``.csv``; None for what is no manifest."""
    name = uri.lower().removesuffix(".gz")
    return next((suffix for suffix in KINDS if name.endswith(suffix)), None)


def lines(uri: str, column: str = URI_COLUMN) -> Iterator[Line]:
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
        except (EOFError, gzip.BadGzipFile, zlib.error, pa.ArrowInvalid) as error:
            raise UsageError(
                f"{uri} cannot be read to its end ({error}); make it again, the job needs all of it"
            ) from error


def _txt(text: IO[str], column: str, uri: str) -> Iterator[Line]:
    for number, line in enumerate(text, 1):
        uri = line.strip()
        if uri and not uri.startswith("#"):
            yield _line(number, uri)


def _csv(text: IO[str], column: str, uri: str, delimiter: str = ",") -> Iterator[Line]:
    rows = csv.reader(text, delimiter=delimiter)
    header = [name.strip() for name in next(rows, [])]
    _require(column, header, uri)
    index = header.index(column)
    while True:
        try:
            row = next(rows, None)
        except csv.Error as error:
            yield Line(rows.line_num, None, f"is no line of a table: {error}")
            continue
        if row is None:
            return
        if len(row) > index:
            yield _line(rows.line_num, row[index].strip())
        elif row:
            yield Line(rows.line_num, None, f"has {len(row)} columns where {column!r} is number {index + 1}")


def _tsv(text: IO[str], column: str, uri: str) -> Iterator[Line]:
    return _csv(text, column, uri, "\t")


def _jsonl(text: IO[str], column: str, uri: str) -> Iterator[Line]:
    seen = False
    faults: list[Line] = []
    for number, line in enumerate(text, 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            yield Line(number, None, f"is no JSON: {error}")
            continue
        if isinstance(record, dict) and column in record:
            seen = True
            value = record[column]
            if isinstance(value, str):
                yield _line(number, value.strip())
            else:
                yield Line(number, None, f"has {json.dumps(value)[:80]} where {column!r} should be a string")
        elif seen:
            yield Line(number, None, f"has no {column!r}")
        else:
            faults.append(Line(number, None, f"has no {column!r}"))
            if len(faults) == 100:
                break
    if faults and not seen:
        raise UsageError(f"{uri}: none of its first {len(faults)} lines has {column!r}; name the one with --uri-column")
    yield from faults


def _parquet(stream: BinaryIO, column: str, uri: str) -> Iterator[Line]:
    file = pq.ParquetFile(stream)
    _require(column, file.schema_arrow.names, uri)
    number = 0
    for batch in file.iter_batches(columns=[column]):
        for value in batch.column(0).to_pylist():
            number += 1
            yield _line(number, value if isinstance(value, str) else "")


_READERS: dict[str, Callable[[IO[str], str, str], Iterator[Line]]] = {
    ".txt": _txt,
    ".csv": _csv,
    ".tsv": _tsv,
    ".jsonl": _jsonl,
}


def _require(column: str, there: Iterable[str], uri: str) -> None:
    names = list(there)
    if column not in names:
        raise UsageError(f"{uri} has no column {column!r}; it has {', '.join(names) or 'none'}: use --uri-column")


def _line(number: int, uri: str) -> Line:
    if not uri:
        return Line(number, None, "names no image: it is empty")
    if not is_text(uri):
        return Line(number, None, "is not UTF-8")
    if "\n" in uri:
        return Line(number, None, f"ends a name that began {uri.count(chr(10))} lines before: is a quote left open?")
    return Line(number, uri)


def is_text(uri: str) -> bool:
    """Whether a name can be written into a table: no bytes that were not UTF-8, no lone surrogates."""
    try:
        uri.encode()
    except UnicodeEncodeError:
        return False
    return True
