"""history: what files of the tables know, and what is missing in them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from gcs_server import Bucket
from hypothesis import given
from hypothesis import strategies as st

from transforms import counts
from transforms.errors import FetchError, NotFound
from transforms.history import subtract
from transforms.history.subtract import Key, KnownKeys, Retries
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


def failure(uri: str, version: str | None, *tables: str, retryable: bool = False, attempt: int = 1) -> Failure:
    return Failure(uri, version, "fetch", "NotFound", "there is none", retryable, tables, attempt)


def failures(uri: str, rows: list[Failure]) -> None:
    writer.put(uri, schemas.failures_to_arrow(rows, "run", datetime(2026, 11, 20, tzinfo=timezone.utc)), {})


def by_table(uri: str, table: str, retries: Retries | None = None) -> dict[tuple[str, bool | str], list[Any]]:
    """What a file knows, over all shards, each of whose keys has to be in its own.

    Failures that are to be tried again stand under "for now", with the number of their attempt.
    """
    found: dict[tuple[str, bool | str], list[Any]] = {}
    shards = set()
    for shard, known in subtract.known_in_file(uri, table, (P, E), retries or Retries()):
        assert {subtract.shard_of(key[0]) for key in known.keys} == {shard}
        name = known.table, known.failed if known.attempts is None else "for now"
        assert (shard, name) not in shards
        shards.add((shard, name))
        attempts = [()] * len(known.keys) if known.attempts is None else [(number,) for number in known.attempts]
        rows = [(*key, *attempt) for key, attempt in zip(known.keys, attempts, strict=True)]
        found.setdefault(name, []).extend(rows)
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
def test_a_shard_is_the_same_on_every_machine(uri: str, shard: int) -> None:
    assert subtract.shard_of(uri) == shard


def test_shard_refs() -> None:
    refs = [ImageRef(f"gs://b/{i}.jpg", str(i)) for i in range(5_000)]
    refs.append(refs[7]._replace(version=None))
    shards = list(subtract.shard_refs(refs))
    assert [shard for shard, _ in shards] == list(dict.fromkeys(subtract.shard_of(ref.uri) for ref in refs))
    assert all(part == [ref for ref in refs if subtract.shard_of(ref.uri) == shard] for shard, part in shards[:20])
    assert sorted((ref for _, part in shards for ref in part), key=str) == sorted(refs, key=str)
    assert list(subtract.shard_refs([])) == []


def test_a_table_holds_its_rows(tmp_path: Path) -> None:
    keys: list[Key] = [(f"gs://b/ä{i}.jpg", str(i)) for i in range(5_000)]
    embeddings(f"{tmp_path}/a.parquet", keys)
    assert by_table(f"{tmp_path}/a.parquet", E) == {(E, False): sorted(keys, key=str)}


def test_only_the_keys_are_read(tmp_path: Path) -> None:
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


def test_only_the_keys_are_shuffled(bucket: Bucket) -> None:
    embeddings(bucket.uri("a.parquet"), [(f"/{i}.jpg", "1") for i in range(1_000)], width=2304)
    size = len(bucket.get("a.parquet"))
    assert size > 5_000_000
    sent = 0

    def count(method: str, path: str) -> None:
        nonlocal sent
        sent += "alt=media" in path

    bucket.gcs.faults = count
    assert len(by_table(bucket.uri("a.parquet"), E)[E, False]) == 1_000
    assert sent == 2  # of at most 4 MiB each: the whole file, because its checksum covers no less


def test_permanent_failures_count_for_their_tables(tmp_path: Path) -> None:
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
        (P, "for now"): [("/passing.jpg", "1", 1)],
        (E, "for now"): [("/passing.jpg", "1", 1)],
    }


def test_transient_failures_become_permanent_after_max_attempts(tmp_path: Path) -> None:
    uri = f"{tmp_path}/f.parquet"
    failures(uri, [failure(f"/{n}.jpg", "1", E, retryable=True, attempt=n) for n in (1, 4, 5, 6)])
    now = {n: (f"/{n}.jpg", "1", n) for n in (1, 4, 5, 6)}
    for_good = [("/5.jpg", "1"), ("/6.jpg", "1")]
    assert by_table(uri, layout.FAILURES) == {(E, "for now"): [now[1], now[4]], (E, True): for_good}
    assert by_table(uri, layout.FAILURES, Retries(6)) == {
        (E, "for now"): [now[1], now[4], now[5]],
        (E, True): for_good[1:],
    }
    failures(uri, [failure("/never.jpg", "1", E, attempt=1)])
    assert by_table(uri, layout.FAILURES, Retries(retry_failed=True)) == {(E, "for now"): [("/never.jpg", "1", 1)]}


def test_an_old_table_without_attempts(tmp_path: Path) -> None:
    path = tmp_path / "f.parquet"
    failures(str(path), [failure("/a.jpg", "1", E, retryable=True, attempt=3), failure("/b.jpg", "1", E)])
    pq.write_table(pq.read_table(path).drop_columns("attempt"), path)
    found = by_table(str(path), layout.FAILURES)
    assert found == {(E, "for now"): [("/a.jpg", "1", 1)], (E, True): [("/b.jpg", "1")]}


def test_keys_of_many_files_are_merged(tmp_path: Path) -> None:
    uris = [f"{tmp_path}/{number}.parquet" for number in range(3)]
    for number, uri in enumerate(uris, start=1):
        rows = [failure("/a.jpg", "1", P, E, retryable=True, attempt=number), failure("/c.jpg", f"{number}", E)]
        failures(uri, rows)
    together = [known for _, known in subtract.known_in_files(uris, layout.FAILURES, (P, E), Retries())]
    found = {(known.table, known.attempts is None): known for known in together}
    assert len(found) == len(together)
    assert found == {
        (P, False): KnownKeys(P, True, [("/a.jpg", "1")] * 3, [1, 2, 3]),
        (E, False): KnownKeys(E, True, [("/a.jpg", "1")] * 3, [1, 2, 3]),
        (E, True): KnownKeys(E, True, [("/c.jpg", "1"), ("/c.jpg", "2"), ("/c.jpg", "3")]),
    }


@pytest.mark.parametrize("damage", ["cut", "zeros", "empty", "other columns"])
@pytest.mark.parametrize("table", [E, layout.FAILURES])
def test_a_damaged_file_is_an_error(tmp_path: Path, table: str, damage: str) -> None:
    path = tmp_path / "part.parquet"
    embeddings(str(path), [("/a.jpg", "1")])
    if damage == "other columns":
        pq.write_table(pq.read_table(path, columns=["uri"]), path)
    else:
        data = path.read_bytes()
        path.write_bytes({"cut": data[:-9], "zeros": bytes(len(data)), "empty": b""}[damage])
    with pytest.raises(FetchError, match=r"part\.parquet cannot be read as a part of the table: .*restore or remove"):
        list(subtract.known_in_file(str(path), table, (P, E), Retries()))


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"gone\.parquet"):
        list(subtract.known_in_file(f"{tmp_path}/gone.parquet", E, (P, E), Retries()))


A, A1, A2 = ImageRef("/a"), ImageRef("/a", "1", 10), ImageRef("/a", "2", 20)
DONE, FAILED, MISSING = counts.DONE_BEFORE, counts.FAILED_BEFORE, counts.MISSING

CASES: list[tuple[str, ImageRef, list[KnownKeys], tuple[str, ...], str]] = [
    ("new", A1, [], (P, E), MISSING),
    ("done", A1, [KnownKeys(P, False, [("/a", "1")]), KnownKeys(E, False, [("/a", "1")])], (), DONE),
    ("in one table", A1, [KnownKeys(P, False, [("/a", "1")])], (E,), MISSING),
    ("another version", A2, [KnownKeys(P, False, [("/a", "1")]), KnownKeys(E, False, [("/a", "2")])], (P,), MISSING),
    ("any version", A, [KnownKeys(P, False, [("/a", "1")]), KnownKeys(E, False, [("/a", "2")])], (), DONE),
    ("failed", A1, [KnownKeys(P, True, [("/a", "1")]), KnownKeys(E, True, [("/a", "1")])], (), FAILED),
    ("failed in one table", A1, [KnownKeys(P, True, [("/a", "1")])], (E,), MISSING),
    (
        "failed in another version",
        A2,
        [KnownKeys(P, True, [("/a", "1")]), KnownKeys(E, True, [("/a", None)])],
        (P, E),
        MISSING,
    ),
    ("failed without one", A, [KnownKeys(P, True, [("/a", None)]), KnownKeys(E, True, [("/a", "7")])], (), FAILED),
    ("done and failed", A1, [KnownKeys(P, False, [("/a", "1")]), KnownKeys(E, True, [("/a", "1")])], (), FAILED),
    ("failed, then done", A1, [KnownKeys(t, f, [("/a", "1")]) for t in (P, E) for f in (True, False)], (), DONE),
    (
        "others",
        A1,
        [KnownKeys(P, False, [("/b", "1"), ("/aa", "1")]), KnownKeys("x", False, [("/a", "1")])],
        (P, E),
        MISSING,
    ),
]


@pytest.mark.parametrize(("ref", "known", "lacking", "count"), [pytest.param(*case[1:], id=case[0]) for case in CASES])
def test_missing(ref: ImageRef, known: list[KnownKeys], lacking: tuple[str, ...], count: str) -> None:
    work = [Work(ref, lacking)] if lacking else []
    assert subtract.missing([[ref]], known, (P, E)) == (work, Counter({counts.LISTED: 1, count: 1}))


FOUR, OTHER = KnownKeys(P, True, [("/a", "1")], [4]), KnownKeys(P, True, [("/a", "2")], [3])


@pytest.mark.parametrize(
    ("ref", "known", "attempt"),
    [
        (A1, [], 1),
        (A1, [FOUR, KnownKeys(P, True, [("/a", "1")], [1])], 5),
        (A2, [FOUR], 1),  # a new version begins anew
        (A1, [FOUR, OTHER, KnownKeys(E, True, [("/b", "1")], [4])], 5),
        (A, [OTHER, FOUR], 5),  # listed without a version: any
        (A1, [KnownKeys(E, True, [("/a", "1")], [2]), KnownKeys(P, False, [("/a", "1")])], 3),
        (A1, [FOUR, KnownKeys(P, False, [("/a", "1")])], 1),  # of the table that lacks it
    ],
)
def test_attempts_continue_from_earlier_runs(ref: ImageRef, known: list[KnownKeys], attempt: int) -> None:
    work, _ = subtract.missing([[ref]], known, (P, E))
    assert [item.attempt for item in work] == [attempt]


def test_no_retry_after_the_last_attempt() -> None:
    known = [FOUR, KnownKeys(P, True, [("/a", "1")])]
    assert subtract.missing([[A1]], known, (P,)) == ([], Counter({counts.LISTED: 1, FAILED: 1}))


@pytest.mark.parametrize(
    ("mentions", "kept"),
    [([A, A], A), ([A, A1], A1), ([A1, A], A1), ([A1, A2], A2), ([A2, A1, A], A2), ([A1, A1], A1)],
)
def test_the_greatest_version_of_a_uri_counts(mentions: list[ImageRef], kept: ImageRef) -> None:
    expected = (
        [Work(kept, (P,))],
        Counter({counts.LISTED: len(mentions), counts.DUPLICATES: len(mentions) - 1, MISSING: 1}),
    )
    assert subtract.missing([mentions], [], (P,)) == expected
    assert subtract.missing([[ref] for ref in mentions], [], (P,)) == expected


def test_work_is_sorted_and_plain_tuples_will_do() -> None:
    refs = [[("/b", None, None, None), ("/c", "1", 2, None)], (("/a", None, None, "line 1 is empty"),)]
    work, _ = subtract.missing(refs, [KnownKeys(P, False, [("/d", "1")])], [P])  # type: ignore[arg-type]
    assert work == [
        Work(ImageRef("/a", None, None, "line 1 is empty"), (P,)),
        Work(ImageRef("/b"), (P,)),
        Work(ImageRef("/c", "1", 2), (P,)),
    ]
    assert [type(item.ref) for item in work] == [ImageRef] * 3


def test_versions_are_looked_up_once_for_each_uri() -> None:
    asked: list[ImageRef] = []

    def look_up(refs: list[ImageRef]) -> list[ImageRef]:
        asked.extend(refs)
        return [ref._replace(version="2", size=20) if ref == A else ref for ref in refs]

    b = ImageRef("/b")
    known = [KnownKeys(P, False, [("/a", "1"), ("/b", "1")])]
    assert subtract.missing([[A, b], [A]], known, (P,), look_up) == (
        [Work(A2, (P,))],
        Counter({counts.LISTED: 3, counts.DUPLICATES: 1, DONE: 1, MISSING: 1}),
    )
    assert asked == [A, b]


VERSIONS = st.sampled_from([None, "1", "2"])
REFS = st.tuples(st.sampled_from(["/a", "/b", "/c", "/d"]), VERSIONS).map(lambda key: ImageRef(*key))
KNOWN = st.builds(
    KnownKeys,
    st.sampled_from([P, E, "x"]),
    st.booleans(),
    st.lists(st.tuples(st.sampled_from(["/a", "/b", "/c", "/e"]), VERSIONS)),
    st.none(),
)
TRANSIENT = st.lists(st.tuples(st.sampled_from(["/a", "/b", "/e"]), VERSIONS, st.integers(1, 9))).map(
    lambda rows: KnownKeys(P, True, [row[:2] for row in rows], [row[2] for row in rows])
)


def has(known: Iterable[KnownKeys], table: str, failed: bool, ref: ImageRef) -> bool:
    return any(
        uri == ref.uri and ref.version in (None, version)
        for item in known
        if item.table == table and item.failed == failed
        for uri, version in item.keys
    )


@given(st.lists(st.lists(REFS)), st.lists(KNOWN))
def test_every_listed_uri_is_accounted_for_once(chunks: list[list[ImageRef]], known: list[KnownKeys]) -> None:
    work, tally = subtract.missing(chunks, known, (P, E))
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


@given(st.lists(REFS), st.lists(KNOWN | TRANSIENT), st.data())
def test_missing_does_not_depend_on_order_or_chunks(
    refs: list[ImageRef], known: list[KnownKeys], data: st.DataObject
) -> None:
    shuffled = data.draw(st.permutations(refs))
    cut = data.draw(st.integers(0, len(refs)))
    again = subtract.missing([shuffled[:cut], shuffled[cut:]], data.draw(st.permutations(known)), (P, E))
    assert again == subtract.missing([refs], known, (P, E))
