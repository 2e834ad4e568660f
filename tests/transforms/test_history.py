"""history: what files of the tables know, and what is missing in them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from gcs_server import Bucket
from hypothesis import given
from hypothesis import strategies as st

from transforms import counts, history
from transforms.errors import FetchError, NotFound
from transforms.history import Key, Known
from transforms.records import Failure, ImageRef, Work
from transforms.tables import layout, schemas, writer

P, E = "predictions/model=p-1", "embeddings/model=e-1"


def embeddings(uri: str, keys: list[Key], width: int = 8) -> None:
    """Write a file of the table E at ``uri``."""
    columns: dict[str, schemas.Column] = {
        "uri": [key[0] for key in keys],
        "version": [key[1] for key in keys],
        "sha256": ["0" * 64] * len(keys),
        "embedding": np.random.default_rng(0).random((len(keys), width), np.float32),
    }
    writer.put(uri, schemas.to_arrow(columns, schemas.embeddings(width)), {"model": "e"})


def failure(uri: str, version: str | None, *tables: str, retryable: bool = False) -> Failure:
    return Failure(uri, version, "fetch", "NotFound", "there is none", retryable, tables)


def failures(uri: str, rows: list[Failure]) -> None:
    writer.put(uri, schemas.failures_to_arrow(rows, "run", datetime(2026, 11, 20, tzinfo=timezone.utc)), {})


def by_table(uri: str, table: str) -> dict[tuple[str, bool], list[Key]]:
    """What a file knows, over all shards, each of whose keys has to be in its own."""
    found: dict[tuple[str, bool], list[Key]] = {}
    shards = set()
    for shard, known in history.known_in_file(uri, table, (P, E)):
        assert {history.shard_of(key[0]) for key in known.keys} == {shard}
        assert (shard, known.table) not in shards
        shards.add((shard, known.table))
        found.setdefault((known.table, known.failed), []).extend(known.keys)
    return {name: sorted(keys, key=str) for name, keys in found.items()}


@pytest.mark.parametrize(
    ("uri", "shard"),
    [
        ("123456789", 0xCBF43926 % 1024),  # the check value of CRC-32
        ("", 0),
        ("gs://bucket/a.jpg", 793),
        ("/data/ä猫.jpg", 403),
    ],
)
def test_a_shard_is_the_same_on_every_machine(uri: str, shard: int):
    assert history.shard_of(uri) == shard


def test_shard_refs():
    refs = [ImageRef(f"gs://b/{i}.jpg", str(i)) for i in range(5_000)]
    refs.append(refs[7]._replace(version=None))
    shards = list(history.shard_refs(refs))
    assert [shard for shard, _ in shards] == list(dict.fromkeys(history.shard_of(ref.uri) for ref in refs))
    assert all(part == [ref for ref in refs if history.shard_of(ref.uri) == shard] for shard, part in shards[:20])
    assert sorted((ref for _, part in shards for ref in part), key=str) == sorted(refs, key=str)
    assert list(history.shard_refs([])) == []


def test_a_table_holds_its_rows(tmp_path: Path):
    keys: list[Key] = [(f"gs://b/ä{i}.jpg", str(i)) for i in range(5_000)]
    embeddings(f"{tmp_path}/a.parquet", keys)
    assert by_table(f"{tmp_path}/a.parquet", E) == {(E, False): sorted(keys, key=str)}


def test_only_the_keys_are_read(tmp_path: Path):
    """The vectors are overwritten with what no reader takes; the keys beside them are read all the same."""
    path = tmp_path / "a.parquet"
    embeddings(str(path), [("/a.jpg", "1"), ("/b.jpg", "2")])
    group = pq.ParquetFile(path).metadata.row_group(0)
    data = bytearray(path.read_bytes())
    for i in range(group.num_columns):
        column = group.column(i)
        if column.path_in_schema not in ("uri", "version"):
            start = min(filter(None, (column.dictionary_page_offset, column.data_page_offset)))
            data[start : start + column.total_compressed_size] = b"\xff" * column.total_compressed_size
    path.write_bytes(data)
    with pytest.raises(OSError, match="deserialize"):
        pq.read_table(path)
    assert by_table(str(path), E) == {(E, False): [("/a.jpg", "1"), ("/b.jpg", "2")]}


def test_only_the_keys_travel(bucket: Bucket):
    embeddings(bucket.uri("a.parquet"), [(f"/{i}.jpg", "1") for i in range(1_000)], width=2304)
    size = len(bucket.get("a.parquet"))
    assert size > 5_000_000
    sent = 0

    def count(method: str, path: str) -> None:
        nonlocal sent
        sent += "alt=media" in path

    bucket.gcs.faults = count
    assert len(by_table(bucket.uri("a.parquet"), E)[E, False]) == 1_000
    assert 0 < sent <= 3  # of at most 1 MiB each: the footer, and the keys


def test_lasting_failures_count_for_the_tables_that_they_name(tmp_path: Path):
    uri = f"{tmp_path}/f.parquet"
    failures(
        uri,
        [
            failure("/both.jpg", "1", P, E),
            failure("/one.jpg", None, E),
            failure("/passing.jpg", "1", P, E, retryable=True),
            failure("/other.jpg", "1", "predictions/model=p-2"),
        ],
    )
    assert by_table(uri, layout.FAILURES) == {
        (P, True): [("/both.jpg", "1")],
        (E, True): [("/both.jpg", "1"), ("/one.jpg", None)],
    }


@pytest.mark.parametrize("damage", ["cut", "zeros", "empty", "other columns"])
@pytest.mark.parametrize("table", [E, layout.FAILURES])
def test_a_damaged_file_is_not_passed_over(tmp_path: Path, table: str, damage: str):
    path = tmp_path / "part.parquet"
    embeddings(str(path), [("/a.jpg", "1")])
    if damage == "other columns":
        pq.write_table(pq.read_table(path, columns=["uri"]), path)
    else:
        data = path.read_bytes()
        path.write_bytes({"cut": data[:-9], "zeros": bytes(len(data)), "empty": b""}[damage])
    with pytest.raises(FetchError, match=r"part\.parquet cannot be read as a part of the table: .*restore or remove"):
        list(history.known_in_file(str(path), table, (P, E)))


def test_a_file_that_is_gone(tmp_path: Path):
    with pytest.raises(NotFound, match=r"gone\.parquet"):
        list(history.known_in_file(f"{tmp_path}/gone.parquet", E, (P, E)))


A, A1, A2 = ImageRef("/a"), ImageRef("/a", "1", 10), ImageRef("/a", "2", 20)
DONE, FAILED, MISSING = counts.DONE_BEFORE, counts.FAILED_BEFORE, counts.MISSING

CASES: list[tuple[str, ImageRef, list[Known], tuple[str, ...], str]] = [
    ("new", A1, [], (P, E), MISSING),
    ("done", A1, [Known(P, False, [("/a", "1")]), Known(E, False, [("/a", "1")])], (), DONE),
    ("in one table", A1, [Known(P, False, [("/a", "1")])], (E,), MISSING),
    ("another version", A2, [Known(P, False, [("/a", "1")]), Known(E, False, [("/a", "2")])], (P,), MISSING),
    ("any version", A, [Known(P, False, [("/a", "1")]), Known(E, False, [("/a", "2")])], (), DONE),
    ("failed", A1, [Known(P, True, [("/a", "1")]), Known(E, True, [("/a", "1")])], (), FAILED),
    ("failed in one table", A1, [Known(P, True, [("/a", "1")])], (E,), MISSING),
    ("failed in another version", A2, [Known(P, True, [("/a", "1")]), Known(E, True, [("/a", None)])], (P, E), MISSING),
    ("failed without one", A, [Known(P, True, [("/a", None)]), Known(E, True, [("/a", "7")])], (), FAILED),
    ("done and failed", A1, [Known(P, False, [("/a", "1")]), Known(E, True, [("/a", "1")])], (), FAILED),
    ("failed, then done", A1, [Known(t, f, [("/a", "1")]) for t in (P, E) for f in (True, False)], (), DONE),
    ("others", A1, [Known(P, False, [("/b", "1"), ("/aa", "1")]), Known("x", False, [("/a", "1")])], (P, E), MISSING),
]


@pytest.mark.parametrize(("ref", "known", "lacking", "count"), [pytest.param(*case[1:], id=case[0]) for case in CASES])
def test_missing(ref: ImageRef, known: list[Known], lacking: tuple[str, ...], count: str):
    work = [Work(ref, lacking)] if lacking else []
    assert history.missing([[ref]], known, (P, E)) == (work, Counter({counts.LISTED: 1, count: 1}))


@pytest.mark.parametrize(
    ("mentions", "kept"),
    [([A, A], A), ([A, A1], A1), ([A1, A], A1), ([A1, A2], A2), ([A2, A1, A], A2), ([A1, A1], A1)],
)
def test_the_greatest_version_of_a_uri_counts(mentions: list[ImageRef], kept: ImageRef):
    expected = (
        [Work(kept, (P,))],
        Counter({counts.LISTED: len(mentions), counts.DUPLICATES: len(mentions) - 1, MISSING: 1}),
    )
    assert history.missing([mentions], [], (P,)) == expected
    assert history.missing([[ref] for ref in mentions], [], (P,)) == expected


def test_work_is_sorted_and_plain_tuples_will_do():
    refs = [[("/b", None, None, None), ("/c", "1", 2, None)], (("/a", None, None, "line 1 is empty"),)]
    work, _ = history.missing(refs, [Known(P, False, [("/d", "1")])], [P])  # type: ignore[arg-type]
    assert work == [
        Work(ImageRef("/a", None, None, "line 1 is empty"), (P,)),
        Work(ImageRef("/b"), (P,)),
        Work(ImageRef("/c", "1", 2), (P,)),
    ]
    assert [type(item.ref) for item in work] == [ImageRef] * 3


def test_versions_are_looked_up_once_for_each_uri():
    asked: list[ImageRef] = []

    def look_up(refs: list[ImageRef]) -> list[ImageRef]:
        asked.extend(refs)
        return [ref._replace(version="2", size=20) if ref == A else ref for ref in refs]

    b = ImageRef("/b")
    known = [Known(P, False, [("/a", "1"), ("/b", "1")])]
    assert history.missing([[A, b], [A]], known, (P,), look_up) == (
        [Work(A2, (P,))],
        Counter({counts.LISTED: 3, counts.DUPLICATES: 1, DONE: 1, MISSING: 1}),
    )
    assert asked == [A, b]


VERSIONS = st.sampled_from([None, "1", "2"])
REFS = st.tuples(st.sampled_from(["/a", "/b", "/c", "/d"]), VERSIONS).map(lambda key: ImageRef(*key))
KNOWN = st.builds(
    Known,
    st.sampled_from([P, E, "x"]),
    st.booleans(),
    st.lists(st.tuples(st.sampled_from(["/a", "/b", "/c", "/e"]), VERSIONS)),
)


def has(known: Iterable[Known], table: str, failed: bool, ref: ImageRef) -> bool:
    return any(
        uri == ref.uri and ref.version in (None, version)
        for item in known
        if item.table == table and item.failed == failed
        for uri, version in item.keys
    )


@given(st.lists(st.lists(REFS)), st.lists(KNOWN))
def test_every_listed_uri_is_accounted_for_once(chunks: list[list[ImageRef]], known: list[Known]):
    work, tally = history.missing(chunks, known, (P, E))
    refs = [ref for chunk in chunks for ref in chunk]
    newest = {ref.uri: ref for ref in sorted(refs, key=lambda ref: ref.version or "")}
    expected = []
    states: Counter[str] = Counter()
    for _, ref in sorted(newest.items()):
        lacking = [table for table in (P, E) if not has(known, table, False, ref)]
        left = tuple(table for table in lacking if not has(known, table, True, ref))
        states[MISSING if left else FAILED if lacking else DONE] += 1
        expected += [Work(ref, left)] if left else []
    assert work == expected
    assert tally == states + Counter({counts.LISTED: len(refs), counts.DUPLICATES: len(refs) - len(newest)})
    assert tally[counts.LISTED] == tally[counts.DUPLICATES] + tally[DONE] + tally[FAILED] + tally[MISSING]


@given(st.lists(REFS), st.lists(KNOWN), st.data())
def test_missing_depends_on_no_order_and_no_chunks(refs: list[ImageRef], known: list[Known], data: st.DataObject):
    shuffled = data.draw(st.permutations(refs))
    cut = data.draw(st.integers(0, len(refs)))
    again = history.missing([shuffled[:cut], shuffled[cut:]], data.draw(st.permutations(known)), (P, E))
    assert again == history.missing([refs], known, (P, E))
