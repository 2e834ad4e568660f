"""subtract: what is missing, by what the tables have."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transforms import counts
from transforms.history import subtract
from transforms.history.known import KnownKeys
from transforms.records import ImageRef, Work

P, E = "predictions/model=p-1", "embeddings/model=e-1"


def index_of(known: list[KnownKeys]) -> Callable[[Sequence[str]], list[KnownKeys]]:
    """An index that has these keys, and is asked for sorted distinct URIs."""

    def find(uris: Sequence[str]) -> list[KnownKeys]:
        assert list(uris) == sorted(set(uris))
        return known

    return find


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
    assert subtract.missing([[ref]], index_of(known), (P, E)) == (work, Counter({counts.LISTED: 1, count: 1}))


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
    work, _ = subtract.missing([[ref]], index_of(known), (P, E))
    assert [item.attempt for item in work] == [attempt]


def test_no_retry_after_the_last_attempt() -> None:
    known = [FOUR, KnownKeys(P, True, [("/a", "1")])]
    assert subtract.missing([[A1]], index_of(known), (P,)) == ([], Counter({counts.LISTED: 1, FAILED: 1}))


NIGHT_1, NIGHT_2 = A1._replace(day="2026-11-19"), A1._replace(day="2026-11-20")


@pytest.mark.parametrize(
    ("mentions", "kept"),
    [
        ([A, A], A),
        ([A, A1], A1),
        ([A1, A], A1),
        ([A1, A2], A2),
        ([A2, A1, A], A2),
        ([A1, A1], A1),
        ([NIGHT_2, NIGHT_1], NIGHT_1),  # one version belongs to the first day that it was listed for
        ([NIGHT_1, NIGHT_2], NIGHT_1),
        ([NIGHT_1, A2, NIGHT_2], A2),
    ],
)
def test_the_greatest_version_of_a_uri_counts(mentions: list[ImageRef], kept: ImageRef) -> None:
    expected = (
        [Work(kept, (P,))],
        Counter({counts.LISTED: len(mentions), counts.DUPLICATES: len(mentions) - 1, MISSING: 1}),
    )
    assert subtract.missing([mentions], index_of([]), (P,)) == expected
    assert subtract.missing([[ref] for ref in mentions], index_of([]), (P,)) == expected


def test_work_is_sorted_and_plain_tuples_will_do() -> None:
    refs = [
        [("/b", None, None, None, None), ("/c", "1", 2, None, "2026-11-20")],
        (("/a", None, None, "line 1 is empty", None),),
    ]
    work, _ = subtract.missing(refs, index_of([KnownKeys(P, False, [("/d", "1")])]), [P])
    assert work == [
        Work(ImageRef("/a", None, None, "line 1 is empty"), (P,)),
        Work(ImageRef("/b"), (P,)),
        Work(ImageRef("/c", "1", 2, day="2026-11-20"), (P,)),
    ]
    assert [type(item.ref) for item in work] == [ImageRef] * 3


def test_versions_are_looked_up_once_for_each_uri() -> None:
    asked: list[ImageRef] = []

    def look_up(refs: list[ImageRef]) -> list[ImageRef]:
        asked.extend(refs)
        return [ref._replace(version="2", size=20) if ref == A else ref for ref in refs]

    b = ImageRef("/b")
    known = [KnownKeys(P, False, [("/a", "1"), ("/b", "1")])]
    assert subtract.missing([[A, b], [A]], index_of(known), (P,), look_up) == (
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
    work, tally = subtract.missing(chunks, index_of(known), (P, E))
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
    again = subtract.missing([shuffled[:cut], shuffled[cut:]], index_of(data.draw(st.permutations(known))), (P, E))
    assert again == subtract.missing([refs], index_of(known), (P, E))
