"""Which members are images, and which names make a URI."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transforms import member_uris
from transforms.shards.member_names import Names, is_image


@pytest.mark.parametrize("name", ["a.jpg", "A.JPEG", "b/c.png", "./a.webp", "__a.jpg", "a__/b__.jpg", "a/__b__.jpg"])
def test_images(name: str) -> None:
    assert is_image(name)
    assert Names().check(name) == (name, None)


@pytest.mark.parametrize(
    "name",
    [
        "a.json",
        "jpg",
        "a.jpg.txt",
        ".a.jpg",
        "b/._a.jpg",
        ".jpg",
        "__MACOSX/b/a.jpg",
        "__meta__/a.jpg",
        "__.._a__/b.jpg",
    ],
)
def test_others(name: str) -> None:
    assert not is_image(name)


@pytest.mark.parametrize(
    ("name", "shown", "reason"),
    [
        ("/a.jpg", "/a.jpg", "absolute"),
        ("../a.jpg", "../a.jpg", "'..'"),
        ("a/../b.jpg", "a/../b.jpg", "'..'"),
        ("a::b.jpg", "a::b.jpg", "'::'"),
        ("a\nb.jpg", r"a\nb.jpg", "line break"),
        ("a\u2028b.jpg", r"a\u2028b.jpg", "line break"),
        ("a\0b.jpg", r"a\x00b.jpg", "NUL"),
        ("\udcff.jpg", r"\xff.jpg", "UTF-8"),
    ],
)
def test_faults(name: str, shown: str, reason: str) -> None:
    found, fault = Names().check(name)
    assert found == shown
    assert fault is not None
    assert reason in fault


def test_the_first_of_two_alike_is_read() -> None:
    names = Names()
    assert names.check("a.jpg") == ("a.jpg", None)
    assert names.check("b.jpg") == ("b.jpg", None)
    found, fault = names.check("a.jpg")
    assert found == "a.jpg#member=2"
    assert fault is not None
    assert "only the first is read" in fault
    assert names.check("a.jpg")[0] == "a.jpg#member=3"


@given(st.lists(st.binary(max_size=4), max_size=30))
def test_names_are_unique_and_make_uris(stored: list[bytes]) -> None:
    names = Names()
    found = [names.check(name.decode("utf-8", "surrogateescape") + ".jpg") for name in stored]
    assert len({name for name, _ in found}) == len(found)
    for name, fault in found:
        name.encode()
        assert len(name.splitlines()) == 1
        if fault is None:
            uri = member_uris.join("zip", "gs://b/c.zip", name)
            assert member_uris.split(uri) == ("gs://b/c.zip", name)
            assert member_uris.from_key(member_uris.to_key(uri)) == uri


def test_a_million_names_take_little_memory() -> None:
    names = Names()
    tracemalloc.start()
    for number in range(100_000):
        names.check(f"{number}.jpg")
    size = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert size < 15_000_000
