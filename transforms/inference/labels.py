"""The classes of a classifier, with their WordNet ids and names.

``imagenet_2012.txt`` is openvinotoolkit/open_model_zoo, data/dataset_classes (Apache-2.0): the 1000 ILSVRC-2012 classes
in the order of the EfficientNet outputs, 0 = tench, no background class. Names are not unique ("crane" is 134 and
517): key by index or WordNet id.
"""

from __future__ import annotations

import re
from importlib import resources
from typing import NamedTuple

from transforms.errors import ModelError

_WORDNET = re.compile(r"(n\d{8})[ \t]+(\S.*)")


class Label(NamedTuple):
    """A class. ``wnid`` is None for a class that is not in WordNet."""

    wnid: str | None
    name: str


def parse(text: str, origin: str) -> tuple[Label, ...]:
    """Parse a labels file with one class per line: ``<WordNet id> <names>`` in all lines, or only names.

    Args:
        text: The content of the file.
        origin: The name of the file in messages.

    Raises:
        ModelError: A line is empty, so a class has no name.
    """
    lines = text.removeprefix("\ufeff").rstrip().splitlines()
    for number, line in enumerate(lines, 1):
        if not line.strip():
            raise ModelError(f"{origin}: line {number} is empty; a labels file holds one class a line")
    matches = [_WORDNET.fullmatch(line.strip()) for line in lines]
    if all(matches):
        return tuple(Label(match[1], match[2]) for match in matches if match)
    return tuple(Label(None, line.strip()) for line in lines)


def imagenet_text() -> str:
    """Return the labels file of the 1000 ImageNet classes."""
    return resources.files(__package__).joinpath("imagenet_2012.txt").read_text(encoding="utf-8")


def check(labels: tuple[Label, ...], width: int, model: str, origin: str) -> None:
    """Raise ModelError if the numbers of labels and outputs differ."""
    if len(labels) == width:
        return
    hint = "; one more output is often a background class: add a line for it" if width == len(labels) + 1 else ""
    raise ModelError(f"{model} has {width} outputs but {origin} has {len(labels)} labels{hint}; give --labels FILE")
