"""units: how missing work is cut up, and how the parts are named."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transforms.history import units
from transforms.history.units import Plain
from transforms.records import ImageRef, Unit, Work

TABLES = ("predictions/model=p-1", "embeddings/model=e-1")


def plain(uri: str, version: str | None = None, tables: tuple[str, ...] = TABLES) -> Plain:
    return (uri, version, None, None), tables, 1


def name(*work: Plain) -> str:
    return units.make_unit([work]).name


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


WORK = st.lists(
    st.builds(plain, st.text(st.characters(exclude_categories=["Cs"])), st.sampled_from([None, "1", "2"])),
    unique_by=lambda work: work[0][0],
)


@given(WORK, st.integers(1, 9))
def test_the_uri_determines_the_unit(work: list[Plain], number: int) -> None:
    parts = list(units.assign(work, number))
    assert sorted((item for _, part in parts for item in part), key=str) == sorted(work, key=str)
    assert [unit for unit, _ in parts] == list(dict.fromkeys(unit for unit, _ in parts))
    assert all(part and 0 <= unit < number for unit, part in parts)
    alone = {item[0][0]: [unit for unit, _ in units.assign([item], number)] for item in work}
    assert all(alone[item[0][0]] == [unit] for unit, part in parts for item in part)


def test_units_are_the_same_on_every_machine_and_similar_in_size() -> None:
    work = [plain(f"gs://bucket/{i:05}.jpg") for i in range(5_120)]
    parts = dict(units.assign(work, 10))
    assert parts[0][:2] == [plain("gs://bucket/00009.jpg"), plain("gs://bucket/00027.jpg")]
    assert sorted(parts) == list(range(10))
    assert all(440 < len(part) < 590 for part in parts.values())


def test_make_unit() -> None:
    parts = [[plain("/b", "2"), plain("/ä")], (), [(*plain("/a", "1", TABLES[:1])[:2], 4)]]
    assert units.make_unit(parts) == Unit(
        "905c77c610514ff5093e",
        (
            Work(ImageRef("/a", "1"), TABLES[:1], 4),
            Work(ImageRef("/b", "2"), TABLES),
            Work(ImageRef("/ä"), TABLES),
        ),
    )


@given(WORK, st.data())
def test_a_unit_does_not_depend_on_order_or_parts(work: list[Plain], data: st.DataObject) -> None:
    shuffled = data.draw(st.permutations(work))
    cut = data.draw(st.integers(0, len(work)))
    assert units.make_unit([shuffled[:cut], shuffled[cut:]]) == units.make_unit([work])


DIFFERENT = [
    (),
    (plain("/a"),),
    (plain("/b"),),
    (plain("/a", ""),),
    (plain("/a", "1"),),
    (plain("/a", "2"),),
    (plain("/a1"),),
    (plain("/a", None, TABLES[:1]),),
    (plain("/a", None, TABLES[::-1]),),
    (plain("/a", None, ("predictions/model=p-2", TABLES[1])),),
    (plain("/a", None, ("".join(TABLES),)),),
    (plain("/a"), plain("/b")),
    # what would be alike if the texts were only joined
    (plain("/a", "1", ("t", "u")),),
    (plain("/a\0001", "t", ("u",)),),
    (plain("/a\n/b"),),
    (plain('/a", "1'),),
]


def test_other_work_has_another_name() -> None:
    names = [name(*work) for work in DIFFERENT]
    assert len(set(names)) == len(DIFFERENT)


@given(WORK, WORK)
def test_names_are_equal_only_for_the_same_work(one: list[Plain], other: list[Plain]) -> None:
    assert (name(*one) == name(*other)) == (sorted(one, key=str) == sorted(other, key=str))


def test_listed_sizes_do_not_change_the_name() -> None:
    """The size follows from the version, and the fault from the manifest's version and the line; and a later attempt on
    the same day writes over what an earlier one left."""
    assert name((("/a", "1", 5, None), TABLES, 1)) == name((("/a", "1", None, "line 1 is empty"), TABLES, 2))
