"""units: how missing work is cut up, and how the parts are named."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transforms.history import units
from transforms.history.units import Plain
from transforms.records import ImageRef, Unit, Work

TABLES = ("predictions/model=p-1", "embeddings/model=e-1")


DAY = "2026-11-20"


def work_of(uri: str, version: str | None = None, tables: tuple[str, ...] = TABLES, day: str | None = None) -> Work:
    return Work(ImageRef(uri, version, day=day), tables)


def plain(work: Work) -> Plain:
    return tuple(work.ref), work.tables, work.attempt


def name(*work: Work) -> str:
    return units.make_unit(work, DAY).name


@pytest.mark.parametrize(
    ("missing", "unit_size", "workers", "expected"),
    [
        (0, 512, 8, 0),
        (1, 512, 1, 1),
        (512, 512, 1, 1),
        (513, 512, 1, 2),
        (1_000_000, 512, 100, 1954),
        (100, 512, 8, 8),  # a small job: each worker has one
        (3, 512, 8, 3),  # but none is empty
        (4096, 512, 8, 8),
        (5, 1, 2, 5),
    ],
)
def test_number_of_units(missing: int, unit_size: int, workers: int, expected: int) -> None:
    assert units.number_of_units(missing, unit_size, workers) == expected


@pytest.mark.parametrize(
    ("missing", "maximum", "workers", "size"),
    [(0, 512, 8, 1), (1, 512, 1, 1), (513, 512, 1, 257), (100, 512, 8, 13), (3, 512, 8, 1), (1_000_000, 512, 100, 512)],
)
def test_units_have_equal_sizes(missing: int, maximum: int, workers: int, size: int) -> None:
    assert units.unit_size(missing, maximum, workers) == size


TEXT = st.text(st.characters(exclude_categories=["Cs"]))
DAYS = st.sampled_from([None, DAY, "2026-11-21"])
WORK = st.lists(
    st.builds(work_of, TEXT, st.sampled_from([None, "1", "2"]), day=DAYS), unique_by=lambda work: work.ref.uri
)


@given(WORK, st.integers(1, 9), st.integers(0, 9))
def test_each_image_is_in_one_unit_of_its_day(work: list[Work], size: int, cut: int) -> None:
    cutter = units.Cutter(size, DAY)
    found = [*cutter.add(map(plain, work[:cut])), *cutter.add(map(plain, work[cut:]))]
    assert all(len(unit.work) == size for unit in found)
    rest = list(cutter.rest())
    assert all(0 < len(unit.work) < size for unit in rest)
    assert len({unit.day for unit in rest}) == len(rest)
    found += rest
    assert sorted(item for unit in found for item in unit.work) == sorted(work)
    assert all((item.ref.day or DAY) == unit.day for unit in found for item in unit.work)
    assert all(unit == units.make_unit(unit.work, unit.day) for unit in found)
    assert list(cutter.rest()) == []


def test_units_of_sorted_work_have_neighbouring_uris() -> None:
    work = [work_of(f"gs://bucket/{i:05}.jpg") for i in range(5_120)]
    found = list(units.Cutter(512, DAY).add(map(plain, work)))
    assert [unit.work for unit in found] == [tuple(work[start : start + 512]) for start in range(0, 5_120, 512)]


def test_make_unit() -> None:
    work = [work_of("/b", "2"), work_of("/ä"), Work(ImageRef("/a", "1"), TABLES[:1], 4)]
    assert (
        units.make_unit(work, DAY)
        == Unit(
            "905c77c610514ff5093e",  # the same on every machine
            (
                Work(ImageRef("/a", "1"), TABLES[:1], 4),
                Work(ImageRef("/b", "2"), TABLES),
                Work(ImageRef("/ä"), TABLES),
            ),
            DAY,
        )
    )


@given(WORK, st.data())
def test_a_unit_does_not_depend_on_order(work: list[Work], data: st.DataObject) -> None:
    assert units.make_unit(data.draw(st.permutations(work)), DAY) == units.make_unit(work, DAY)


DIFFERENT = [
    (),
    (work_of("/a"),),
    (work_of("/b"),),
    (work_of("/a", ""),),
    (work_of("/a", "1"),),
    (work_of("/a", "2"),),
    (work_of("/a1"),),
    (work_of("/a", None, TABLES[:1]),),
    (work_of("/a", None, TABLES[::-1]),),
    (work_of("/a", None, ("predictions/model=p-2", TABLES[1])),),
    (work_of("/a", None, ("".join(TABLES),)),),
    (work_of("/a"), work_of("/b")),
    # what would be alike if the texts were only joined
    (work_of("/a", "1", ("t", "u")),),
    (work_of("/a\0001", "t", ("u",)),),
    (work_of("/a\n/b"),),
    (work_of('/a", "1'),),
]


def test_other_work_has_another_name() -> None:
    names = [name(*work) for work in DIFFERENT]
    assert len(set(names)) == len(DIFFERENT)


def identity(work: list[Work]) -> list[tuple[str, str | None]]:
    return sorted((item.ref.uri, item.ref.version) for item in work)


@given(WORK, WORK)
def test_names_are_equal_only_for_the_same_work(one: list[Work], other: list[Work]) -> None:
    assert (name(*one) == name(*other)) == (identity(one) == identity(other))


def test_listed_sizes_do_not_change_the_name() -> None:
    """The size follows from the version, and the fault from the manifest's version and the line. A repetition of a unit
    must write the same files."""
    one = Work(ImageRef("/a", "1", 5), TABLES, 1)
    other = Work(ImageRef("/a", "1", None, "line 1 is empty"), TABLES, 2)
    assert name(one) == name(other)
