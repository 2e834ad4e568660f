"""manifests: what each kind of file names, line by line, and what becomes of lines that name nothing."""

from __future__ import annotations

import csv
import gzip
import io
import json
import random
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from gcs_server import Bucket
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from transforms.errors import NotFound, Unreadable, UsageError
from transforms.listing import manifests
from transforms.listing.manifests import Line
from transforms.storage import files
from transforms.storage.base import Stat

EMPTY = "is empty and names no image"
NOT_UTF8 = "is not UTF-8"
BROKEN = "has a line break in its URI; check for a quote that is not closed"


class OneFile:
    """A file system of one file, which counts the bytes that are read of it."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.taken = 0

    def stat(self, uri: str) -> Stat:
        return Stat(uri, len(self.data), "1")

    def open(self, uri: str, version: str | None = None) -> tuple[Any, Stat]:
        return _Counted(self), Stat(uri, len(self.data), "1")


class _Counted(io.BytesIO):
    def __init__(self, file: OneFile) -> None:
        super().__init__(file.data)
        self._file = file

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self._file.taken += len(data)
        return data

    def read1(self, size: int | None = -1, /) -> bytes:
        return self.read(size)

    def readinto(self, buffer: Any, /) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


def named(monkeypatch: pytest.MonkeyPatch, name: str, data: bytes) -> tuple[str, OneFile]:
    """A manifest of this name and content -> its URI and its file system."""
    system = OneFile(data)
    monkeypatch.setitem(files.SYSTEMS, "mem", system)
    return f"mem://{name}", system


def parquet(column: pa.Array | pa.ChunkedArray, name: str = "uri", **options: Any) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table({"id": pa.nulls(len(column)), name: column}), sink, **options)
    return sink.getvalue()


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.txt", ".txt"),
        ("gs://b/A.CSV", ".csv"),
        ("a.tsv.gz", ".tsv"),
        ("a.jsonl.GZ", ".jsonl"),
        ("a.jpg.parquet", ".parquet"),
        ("a.csv.jpg", None),
        ("a.json", None),
        ("a.gz", None),
        ("a.txt/b", None),
    ],
)
def test_kind(name: str, kind: str | None) -> None:
    assert manifests.kind(name) == kind


CASES: list[tuple[str, str, bytes, list[Line]]] = [
    ("a URI a line", "m.txt", b"a.jpg\ngs://b/c d.jpg\n", [Line(1, "a.jpg"), Line(2, "gs://b/c d.jpg")]),
    ("no last line break", "m.txt", b"a.jpg\nb.jpg", [Line(1, "a.jpg"), Line(2, "b.jpg")]),
    ("comments, blank lines", "m.txt", b"# May\n\n  \n a.jpg \n#b\nc#d.jpg\n", [Line(4, "a.jpg"), Line(6, "c#d.jpg")]),
    ("BOM and CRLF", "m.txt", b"\xef\xbb\xbfa.jpg\r\n\r\nb.jpg\r\n", [Line(1, "a.jpg"), Line(3, "b.jpg")]),
    ("CR alone", "m.txt", b"a.jpg\rb.jpg\r", [Line(1, "a.jpg"), Line(2, "b.jpg")]),
    ("UTF-8", "m.txt", "ä猫.jpg\nb\u2028c.jpg\n".encode(), [Line(1, "ä猫.jpg"), Line(2, "b\u2028c.jpg")]),
    ("not UTF-8", "m.txt", b"a.jpg\n\xe4.jpg\nb.jpg\n", [Line(1, "a.jpg"), Line(2, None, NOT_UTF8), Line(3, "b.jpg")]),
    ("empty", "m.txt", b"", []),
    ("only a BOM", "m.csv", b"\xef\xbb\xbf", []),
    ("empty", "m.tsv", b"", []),
    ("empty", "m.jsonl", b"\n", []),
    ("the first column", "m.csv", b"uri,label\na.jpg,cat\n", [Line(2, "a.jpg")]),
    ("another column", "m.csv", b"label,uri\ncat,a.jpg\n", [Line(2, "a.jpg")]),
    ("spaces", "m.csv", b" id , uri \n1, a.jpg \n", [Line(2, "a.jpg")]),
    ("BOM and CRLF", "m.csv", b"\xef\xbb\xbfuri,x\r\na.jpg,1\r\n", [Line(2, "a.jpg")]),
    ("blank lines", "m.csv", b"\n \nuri\n\na.jpg\n  \nb.jpg\n", [Line(5, "a.jpg"), Line(7, "b.jpg")]),
    ("only a header", "m.csv", b"uri\n", []),
    ("quotes", "m.csv", b'"uri",x\n"a,""b"".jpg",1\nc"d.jpg,2\n', [Line(2, 'a,"b".jpg'), Line(3, 'c"d.jpg')]),
    (
        "a text of several lines beside it",
        "m.csv",
        b'x,uri\n"one\n\ntwo",a.jpg\n3,b.jpg\n',
        [Line(2, "a.jpg"), Line(5, "b.jpg")],
    ),
    (
        "cells that are empty, rows that are short",
        "m.csv",
        b'id,uri\n1,\n2\n3," "\n4,a.jpg\n',
        [
            Line(2, None, EMPTY),
            Line(3, None, "has only 1 column, but 'uri' is column 2"),
            Line(4, None, EMPTY),
            Line(5, "a.jpg"),
        ],
    ),
    ("an empty cell alone", "m.csv", b'uri\n""\na.jpg\n', [Line(2, None, EMPTY), Line(3, "a.jpg")]),
    ("not UTF-8", "m.csv", b"uri\n\xe4.jpg\na.jpg\n", [Line(2, None, NOT_UTF8), Line(3, "a.jpg")]),
    ("not UTF-8 beside it", "m.csv", b"uri,x\na.jpg,\xe4\n", [Line(2, "a.jpg")]),
    ("tabs", "m.tsv", b"id\turi\n1\ta,b.jpg\n\t\n2\tc d.jpg\n", [Line(2, "a,b.jpg"), Line(4, "c d.jpg")]),
    ("columns of another order", "m.jsonl", b'{"x": {"uri": 1}, "uri": "a.jpg"}\n', [Line(1, "a.jpg")]),
    ("blank lines", "m.jsonl", b'\n{"uri": " a.jpg "}\r\n \r\n{"uri":"b.jpg"}', [Line(2, "a.jpg"), Line(4, "b.jpg")]),
    ("escapes", "m.jsonl", b'{"uri": "\\u00e4\\ud83d\\udc31.jpg"}\n', [Line(1, "ä🐱.jpg")]),
    (
        "what names nothing",
        "m.jsonl",
        b'{"uri": "a.jpg"}\n{"uri": \n{"uri": null}\n{"uri": ["b"]}\n{"url": "c"}\n"d"\n{"uri": ""}\n'
        b'{"uri": "\\ud800"}\n{"uri": "\xff"}\n{"uri": "e\\nf"}\n{"uri": "g.jpg"}\n',
        [
            Line(1, "a.jpg"),
            Line(2, None, "is not JSON: Expecting value"),
            Line(3, None, "has null as 'uri', which is not a string"),
            Line(4, None, "has [\"b\"] as 'uri', which is not a string"),
            Line(5, None, "has no 'uri'"),
            Line(6, None, "has no 'uri'"),
            Line(7, None, EMPTY),
            Line(8, None, NOT_UTF8),
            Line(9, None, NOT_UTF8),
            Line(10, None, BROKEN),
            Line(11, "g.jpg"),
        ],
    ),
    (
        "a beginning without the column",
        "m.jsonl",
        b'{"version": 1}\n{"uri": "a.jpg"}\n',
        [Line(1, None, "has no 'uri'"), Line(2, "a.jpg")],
    ),
    (
        "nulls and empty strings",
        "m.parquet",
        parquet(pa.array(["a.jpg", None, " ", "b.jpg"])),
        [Line(1, "a.jpg"), Line(2, None, "is null and names no image"), Line(3, None, EMPTY), Line(4, "b.jpg")],
    ),
    (
        "bytes that are not UTF-8",
        "m.parquet",
        parquet(pa.array([b"a.jpg", b"\xff.jpg", "ä.jpg".encode()], pa.binary()).view(pa.string())),
        [Line(1, "a.jpg"), Line(2, None, NOT_UTF8), Line(3, "ä.jpg")],
    ),
    ("bytes", "m.parquet", parquet(pa.array([b"a.jpg"])), [Line(1, "a.jpg")]),
    ("long strings", "m.parquet", parquet(pa.array(["a.jpg"], pa.large_string())), [Line(1, "a.jpg")]),
    ("a dictionary", "m.parquet", parquet(pa.array(["a", None]).dictionary_encode()), [
        Line(1, "a"),
        Line(2, None, "is null and names no image"),
    ]),
    (
        "several row groups",
        "m.parquet",
        parquet(pa.array(["a", "b", "c"]), row_group_size=2),
        [Line(1, "a"), Line(2, "b"), Line(3, "c")],
    ),
    ("no rows", "m.parquet", parquet(pa.array([], pa.string())), []),
]  # fmt: skip


@pytest.mark.parametrize("zipped", [False, True], ids=["plain", "gz"])
@pytest.mark.parametrize(("name", "data", "expected"), [pytest.param(*c[1:], id=f"{c[1]}-{c[0]}") for c in CASES])
def test_lines(tmp_path: Path, name: str, data: bytes, expected: list[Line], zipped: bool) -> None:
    path = tmp_path / (f"{name}.gz" if zipped else name)
    path.write_bytes(gzip.compress(data, mtime=0) if zipped else data)
    assert list(manifests.lines(str(path))) == expected


# A quote that nothing closes would take in what follows it. Only the line where it was opened is at fault.
OPEN = [
    ("to the end", 'a,1\n"b,2\nc,3\nd,4\n', ["a", "c", "d"], [3]),
    ("in another column", 'a,1\nb,"2\nc,3\nd,4\n', ["a", "c", "d"], [3]),
    ("up to a quote", 'a,1\n"b,2\n"c",3\nd,4\n', ["a", "c", "d"], [3]),
    ("in another column up to a quote", 'a,1\nb,"2\nc,"3"\nd,4\n', ["a", "c", "d"], [3]),
    ("twice", '"a,1\nb,2\n"c,3\nd,4\n', ["b", "d"], [2, 4]),
    ("on each line", '"a,1\n"b,2\n"c,3\n', [], [2, 3, 4]),
    ("on the last line", 'a,1\nb,"2', ["a"], [3]),
    ("and closed on a line of its own", 'a,1\n"b,2\nc,3\n"\nd,4\n', ["a", "c", "d"], [3, 5]),
    ("text behind it", 'a,1\n"b"x,2\nc,3\n', ["a", "c"], [3]),
    ("over many lines", 'a,1\n"b,2\n' + "c,3\n" * 50_000, ["a", *["c"] * 50_000], [3]),
]


@pytest.mark.parametrize(("text", "uris", "faults"), [pytest.param(*case[1:], id=case[0]) for case in OPEN])
@pytest.mark.parametrize("name", ["m.csv", "m.tsv"])
def test_an_open_quote_costs_one_line(tmp_path: Path, name: str, text: str, uris: list[str], faults: list[int]) -> None:
    path = tmp_path / name
    path.write_text(f"uri,x\n{text}".replace(",", "\t" if name == "m.tsv" else ","))
    found = list(manifests.lines(str(path)))
    assert [line.uri for line in found if line.uri is not None] == uris
    assert [line.number for line in found if line.uri is None] == faults
    assert all("check for a quote that is not closed" in line.fault for line in found if line.fault)


def test_a_cell_that_is_too_long_costs_one_line(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text('uri,x\na,1\n"b,2\n' + f"c,{'3' * 1_000_000}\n" * 20)
    (*found,) = manifests.lines(str(path))
    assert found[1] == Line(
        3,
        None,
        "is not a valid row: field larger than field limit (16777216); check for a quote that is not closed",
    )
    assert [line.uri for line in found] == ["a", None, *["c"] * 20]


@pytest.mark.parametrize("cell", ["x" * 200_000, '{""a"": 1, ""b"": 2}' * 20_000], ids=["plain", "quotes"])
def test_a_long_cell_is_a_row_like_others(tmp_path: Path, cell: str) -> None:
    path = tmp_path / "m.csv"
    path.write_text(f'uri,x\na.jpg,1\nb.jpg,"{cell}"\n"{cell}.jpg",2\nc.jpg,3\n')
    name = cell.replace('""', '"') + ".jpg"
    assert list(manifests.lines(str(path))) == [Line(2, "a.jpg"), Line(3, "b.jpg"), Line(4, name), Line(5, "c.jpg")]
    assert csv.field_size_limit() == 131_072  # other code in the process keeps its limit


def test_the_column_that_is_asked_for(tmp_path: Path) -> None:
    for name, data in {
        "m.csv": b"uri,my url\nno,a.jpg\n",
        "m.tsv": b"uri\tmy url\nno\ta.jpg\n",
        "m.jsonl": b'{"uri": "no", "my url": "a.jpg"}\n',
        "m.parquet": parquet(pa.array(["a.jpg"]), "my url"),
    }.items():
        (tmp_path / name).write_bytes(data)
        assert [line.uri for line in manifests.lines(str(tmp_path / name), "my url")] == ["a.jpg"]


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        (
            "m.csv",
            b"url,id\na.jpg,1\n",
            r"m\.csv has no column 'uri'; its columns are 'url', 'id'; pass one with --uri-column",
        ),
        ("m.csv", b"uri;id\na.jpg;1\n", r"its columns are 'uri;id'"),
        ("m.csv", b"a" * 10_000 + b"\n", r"has no column 'uri'; its columns are 'a{999}; pass"),
        ("m.csv", b",".join(b"%d" % i for i in range(99)) + b"\n", r"'18', '19', \.\.\.; pass"),
        ("m.csv", b'"uri\na.jpg\n', r"line 1 is not a valid header: unexpected end of data"),
        ("m.tsv", b"uri,id\na.jpg,1\n", r"its columns are 'uri,id'"),
        ("m.jsonl", b'{"url": "a"}\n{"url": "b"}\n', r"none of the first 2 lines has the column 'uri'; pass its name"),
        ("m.jsonl", b'{"url": "a"}\n' * 1000 + b'{"uri": "a"}\n', r"none of the first 100 lines"),
        ("m.parquet", parquet(pa.array(["a"]), "url"), r"has no column 'uri'; its columns are 'id', 'url'"),
        ("m.parquet", parquet(pa.array([1])), r"the column 'uri' has the type int64, not string; .*--uri-column"),
        ("m.parquet", parquet(pa.array([["a"]])), r"has the type list<.*>, not string"),
        ("m.parquet", parquet(pa.array(["a"]))[:-20], r"cannot be read to its end"),
        ("m.parquet", b"", r"cannot be read to its end"),
        ("m.parquet", b"PAR1" + bytes(100) + b"PAR1", r"cannot be read to its end"),
        ("m.parquet.gz", gzip.compress(parquet(pa.array(["a"])), mtime=0)[:-20], r"cannot be read to its end"),
        ("m.txt.gz", gzip.compress(b"a.jpg\nb.jpg\n", mtime=0)[:-9], r"to its end \(.*\); create the manifest again"),
        ("m.txt.gz", b"a.jpg\n", r"cannot be read to its end \(Not a gzipped file"),
        ("m.txt.gz", gzip.compress(b"a.jpg\n", mtime=0) + b"more", r"cannot be read to its end"),
        ("m.csv.gz", gzip.compress(b"uri\na.jpg\n", mtime=0)[:10] + b"\xff" * 20, r"cannot be read to its end"),
        ("m.json", b"{}", r"m\.json is not a manifest; its name must end in \.txt, \.csv"),
    ],
)
def test_refused(tmp_path: Path, name: str, data: bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(UsageError, match=message):
        list(manifests.lines(str(path)))


def test_damage_after_the_first_lines_is_an_error(tmp_path: Path) -> None:
    """A row group whose bytes are gone, in a file whose footer is whole."""
    data = bytearray(parquet(pa.array([f"{i}.jpg" for i in range(200_000)]), row_group_size=100_000))
    chunk = pq.ParquetFile(io.BytesIO(data)).metadata.row_group(1).column(1)
    start = chunk.dictionary_page_offset or chunk.data_page_offset
    data[start : start + 64] = b"\xff" * 64
    path = tmp_path / "m.parquet"
    path.write_bytes(data)
    with pytest.raises(UsageError, match="cannot be read to its end"):
        list(manifests.lines(str(path)))


def test_no_such_manifest(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"m\.csv"):
        list(manifests.lines(f"{tmp_path}/m.csv"))


def a_long_one(name: str) -> bytes:
    """300,000 names that hardly compress, as a manifest of this name."""
    digits = random.Random(0).randbytes(300_000 * 12).hex()
    uris = [digits[i : i + 24] for i in range(0, len(digits), 24)]
    kind = manifests.kind(name)
    if kind == ".parquet":
        return parquet(pa.array(uris), row_group_size=70_000, use_dictionary=False)
    template = '{"uri": "%s"}\n' if kind == ".jsonl" else "%s\n"
    data = ("uri\n" if kind in (".csv", ".tsv") else "") + "".join(template % uri for uri in uris)
    return gzip.compress(data.encode(), 1) if name.endswith(".gz") else data.encode()


@pytest.mark.parametrize("name", ["m.txt", "m.csv", "m.tsv", "m.jsonl", "m.txt.gz", "m.csv.gz", "m.parquet"])
def test_a_long_manifest_is_a_stream(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    data = a_long_one(name)
    uri, system = named(monkeypatch, name, data)
    found = manifests.lines(uri)
    assert next(found).uri == random.Random(0).randbytes(12).hex()
    assert system.taken < (0.3 if name == "m.parquet" else 0.1) * len(data)
    assert isinstance(found, Generator)
    found.close()


# What a column can hold; the first and last characters are stripped of white space by all kinds.
URIS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n\0"), min_size=1).filter(
    lambda uri: uri == uri.strip()
)
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))


def written(kind: str, rows: list[tuple[str, str]]) -> bytes:
    """Rows of a URI and any text, as the usual writers write them."""
    if kind == ".parquet":
        return parquet(pa.array([uri for uri, _ in rows], pa.string()))
    text = io.StringIO(newline="")
    if kind == ".jsonl":
        text.writelines(json.dumps({"x": x, "uri": uri}, ensure_ascii=False) + "\n" for uri, x in rows)
    elif kind == ".txt":
        text.writelines(f"{uri}\n" for uri, _ in rows)
    else:
        csv.writer(text, "excel" if kind == ".csv" else "excel-tab").writerows(
            [("x", "uri"), *((x, uri) for uri, x in rows)]
        )
    return text.getvalue().encode()


@given(st.lists(st.tuples(URIS, TEXTS), min_size=1), st.sampled_from(manifests.KINDS))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_written_manifests_are_read(monkeypatch: pytest.MonkeyPatch, rows: list[tuple[str, str]], kind: str) -> None:
    if kind == ".txt":
        rows = [(f"/{uri}", x) for uri, x in rows]  # no comment
    uri, _ = named(monkeypatch, f"m{kind}", written(kind, rows))
    assert [(line.uri, line.fault) for line in manifests.lines(uri)] == [(name, None) for name, _ in rows]


@given(st.integers(0, 5), st.integers(0, 5), st.sampled_from(['"x', 'x,"y', '"', 'x,"', '"x"y']), st.booleans())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_lines_after_a_fault_are_read(
    monkeypatch: pytest.MonkeyPatch, before: int, after: int, bad: str, quoted: bool
) -> None:
    rows = [f'"{i}.jpg","{i}"\n' if quoted else f"{i}.jpg,{i}\n" for i in range(before + after)]
    text = "".join(["uri,id\n", *rows[:before], bad + "\n", *rows[before:]])
    uri, _ = named(monkeypatch, "m.csv", text.encode())
    found = list(manifests.lines(uri))
    assert [line.uri for line in found] == [
        *(f"{i}.jpg" for i in range(before)),
        None,
        *(f"{i}.jpg" for i in range(before, before + after)),
    ]
    assert [line.number for line in found] == list(range(2, before + after + 3))


@given(
    st.binary(max_size=200), st.sampled_from([f"m{kind}{zipped}" for kind in manifests.KINDS for zipped in ("", ".gz")])
)
@example(b'uri\n"\r', "m.csv")
@example(b"[" * 100_000, "m.jsonl")
@example(b"1" * 100_000, "m.jsonl")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_give_lines_or_a_beamsight_error(monkeypatch: pytest.MonkeyPatch, data: bytes, name: str) -> None:
    body = b"uri\n" + data if ".csv" in name or ".tsv" in name else data
    uri, _ = named(monkeypatch, name, gzip.compress(body, mtime=0) if name.endswith(".gz") else body)
    try:
        found = list(manifests.lines(uri))
    except UsageError:
        return
    assert all((line.uri is None) != (line.fault is None) for line in found)
    assert all(manifests.is_text(line.uri or "") for line in found)
    assert len({line.number for line in found}) == len(found)


@pytest.mark.parametrize("fault", ["empty", "short", "corrupt", "corrupt start", "cut"])
@pytest.mark.parametrize("name", ["a.txt", "a.csv.gz", "a.parquet"])
def test_a_manifest_is_never_read_from_bytes_that_were_not_stored(
    bucket: Bucket, quick_retries: object, name: str, fault: str
) -> None:
    uris = [f"gs://b/{number}.jpg" for number in range(1_000)]
    text = "\n".join(uris).encode()
    stored = {"a.txt": text, "a.csv.gz": gzip.compress(b"uri\n" + text), "a.parquet": parquet(pa.array(uris))}
    bucket.put(name, stored[name])
    left = iter([fault])
    bucket.gcs.faults = lambda _, path: next(left, None) if "alt=media" in path else None
    assert [line.uri for line in manifests.lines(bucket.uri(name))] == uris
    bucket.gcs.faults = lambda _, path: fault if "alt=media" in path else None
    with pytest.raises(Unreadable) as caught:
        list(manifests.lines(bucket.uri(name)))
    assert caught.value.retryable
