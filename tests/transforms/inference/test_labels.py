from __future__ import annotations

from pathlib import Path

import pytest

from transforms.errors import ModelError
from transforms.inference import labels
from transforms.inference.labels import Label


def test_imagenet() -> None:
    classes = labels.parse(labels.imagenet_text(), "ImageNet's list")
    assert len(classes) == 1000
    assert classes[0] == Label("n01440764", "tench, Tinca tinca")
    assert classes[134] == Label("n02012849", "crane")
    assert classes[517] == Label("n03126707", "crane")
    assert classes[999] == Label("n15075141", "toilet tissue, toilet paper, bathroom tissue")
    assert len({label.wnid for label in classes}) == 1000


def test_imagenet_is_in_the_order_of_the_publisher(shared_dir: Path) -> None:
    classes = labels.parse(labels.imagenet_text(), "ImageNet's list")
    theirs = (shared_dir / "labels" / "imagenet_2012.txt").read_text(encoding="utf-8")
    assert classes == labels.parse(theirs, "theirs")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("owl\nheron\n", [(None, "owl"), (None, "heron")]),
        ("owl\r\n heron \r\n\r\n", [(None, "owl"), (None, "heron")]),
        ("\ufeffowl\nheron", [(None, "owl"), (None, "heron")]),
        ("n00000001 owl, Strix\nn00000002\theron", [("n00000001", "owl, Strix"), ("n00000002", "heron")]),
        ("n00000001 owl\nheron", [(None, "n00000001 owl"), (None, "heron")]),
        ("n00000001\nn00000002", [(None, "n00000001"), (None, "n00000002")]),
        ("n0000001 owl", [(None, "n0000001 owl")]),
        ("猫\n犬", [(None, "猫"), (None, "犬")]),
        ("", []),
    ],
)
def test_parse(text: str, expected: list[tuple[str | None, str]]) -> None:
    assert labels.parse(text, "labels.txt") == tuple(Label(*pair) for pair in expected)


@pytest.mark.parametrize(("text", "line"), [("owl\n\nheron", 2), ("\nowl", 1), ("owl\nheron\n \t\nstork", 3)])
def test_a_class_without_a_name_is_refused(text: str, line: int) -> None:
    with pytest.raises(ModelError, match=f"labels.txt: line {line} is empty; a labels file holds one class a line"):
        labels.parse(text, "labels.txt")


OWLS = (Label(None, "owl"), Label(None, "heron"))


def test_as_many_labels_as_outputs() -> None:
    labels.check(OWLS, 2, "birds", "labels.txt")


def test_one_output_more_hints_at_the_background() -> None:
    with pytest.raises(ModelError) as caught:
        labels.check(OWLS, 3, "birds", "labels.txt")
    assert str(caught.value) == (
        "birds has 3 outputs but labels.txt has 2 labels; one more output is often a background class: "
        "add a line for it; give --labels FILE"
    )


@pytest.mark.parametrize("width", [1, 4])
def test_another_number_of_labels(width: int) -> None:
    with pytest.raises(ModelError) as caught:
        labels.check(OWLS, width, "birds", "labels.txt")
    assert str(caught.value) == f"birds has {width} outputs but labels.txt has 2 labels; give --labels FILE"
