"""The images that a page shows: some with their classes and neighbours, and where all of the sample lie on a map."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from beamsight.reports import duplicates, vectors
from beamsight.reports.classes import Best, Key
from beamsight.reports.duplicates import Near
from beamsight.reports.thumbnails import Thumbnail, Thumbnails
from beamsight.reports.vectors import Floats, Image, Sample

SHOWN = 12  # images with their classes
NEIGHBOURS = 4  # of each
COLOURS = 6  # classes with a colour of their own on the map
GROUPS = 6  # of near-duplicates that are shown
TRIED = 4 * SHOWN  # images that are looked at to show so many


@dataclass(frozen=True, slots=True)
class Neighbour:
    """An image of the sample, its best class where it is known, and the cosine to the one that it is near to."""

    image: Image
    thumbnail: Thumbnail | None
    label: str | None
    cosine: float


@dataclass(frozen=True, slots=True)
class Card:
    """An image that is shown: place in the sample, picture, k best classes (maybe none), neighbours (maybe none)."""

    index: int
    image: Image
    thumbnail: Thumbnail
    best: tuple[Best, ...]
    neighbours: tuple[Neighbour, ...]


@dataclass(frozen=True, slots=True)
class Layer:
    """A class on the map: its name, how many of the sample, and where they lie, float32[N, 2] in 0..1."""

    label: str
    points: Floats


@dataclass(frozen=True, slots=True)
class Pin:
    """Where a card lies on the map, 0..1, and the layer that it is of, if it is of one."""

    place: tuple[float, float]
    layer: int | None


@dataclass(frozen=True, slots=True)
class Map:
    """Where the sample lies. variance: the share of it that the two axes hold. pins: one a card, in their order.

    layers: the most frequent classes, then all others (``None`` where no class is known of any).
    """

    layers: tuple[Layer, ...]
    other: Layer | None
    pins: tuple[Pin, ...]
    variance: float


@dataclass(frozen=True, slots=True)
class Group:
    """Near-duplicates: pictures of some, how many there are, and the greatest cosine of two."""

    count: int
    members: tuple[tuple[Image, Thumbnail | None], ...]
    cosine: float


@dataclass(frozen=True, slots=True)
class Samples:
    """What is shown of a sample. alike: its vectors are too near to each other to tell near-duplicates."""

    count: int
    cards: tuple[Card, ...]
    missing: Mapping[str, int]
    map: Map | None
    near: tuple[Group, ...]
    near_groups: int
    health: vectors.Health | None


def show(sample: Sample, best: Mapping[Key, tuple[Best, ...]]) -> Samples:
    """A sample and the classes of its images -> what is shown. Reads the pictures that it shows."""
    has_vectors = bool(sample.vectors.size)
    unit = vectors.unit_length(sample.vectors)
    cosines = vectors.cosine(unit)
    health = vectors.health(sample) if has_vectors else None
    pictures = Thumbnails()
    chosen = _readable(sample.images, pictures)
    near_by = {index: vectors.nearest(cosines, index, NEIGHBOURS) if has_vectors else [] for index in chosen}
    told_apart = health is not None and (health.median_cosine is None or health.median_cosine <= vectors.ALIKE)
    groups = duplicates.near(sample.images, cosines) if told_apart else []
    failed = pictures.reasons()
    pictures.look([sample.images[other] for near in near_by.values() for other, _ in near])
    pictures.look([sample.images[index] for group in groups[:GROUPS] for index in group.members[: duplicates.NAMED]])
    cards = tuple(
        Card(
            index,
            sample.images[index],
            pictures.made[sample.images[index].key],
            best.get(sample.images[index].key, ()),
            tuple(_neighbour(sample.images[other], cosine, pictures, best) for other, cosine in near_by[index]),
        )
        for index in chosen
    )
    return Samples(
        count=len(sample.images),
        cards=cards,
        missing=failed,
        map=_map(sample.images, unit, best, chosen) if has_vectors and len(sample.images) > 2 else None,
        near=tuple(_group(group, sample.images, pictures) for group in groups[:GROUPS]),
        near_groups=len(groups),
        health=health,
    )


def _readable(images: Sequence[Image], pictures: Thumbnails) -> list[int]:
    """The first of the images that can still be read, no two with the same bytes."""
    found: dict[str, int] = {}
    candidates = iter(range(min(len(images), TRIED)))
    while len(found) < SHOWN and (tried := list(islice(candidates, SHOWN))):
        pictures.look([images[index] for index in tried])
        for index in tried:
            if images[index].key in pictures.made and len(found) < SHOWN:
                found.setdefault(images[index].sha256, index)
    return list(found.values())


def _neighbour(image: Image, cosine: float, pictures: Thumbnails, best: Mapping[Key, tuple[Best, ...]]) -> Neighbour:
    classes = best.get(image.key)
    return Neighbour(image, pictures.get(image), classes[0].label if classes else None, cosine)


def _group(group: Near, images: Sequence[Image], pictures: Thumbnails) -> Group:
    shown = [images[index] for index in group.members[: duplicates.NAMED]]
    return Group(len(group.members), tuple((image, pictures.get(image)) for image in shown), group.greatest)


def _map(images: Sequence[Image], unit: Floats, best: Mapping[Key, tuple[Best, ...]], chosen: Sequence[int]) -> Map:
    places, variance = vectors.plane(unit)
    low, high = places.min(axis=0), places.max(axis=0)
    places = (places - low) / np.where(high > low, high - low, 1)
    classes = [best[image.key][0] if best.get(image.key) else None for image in images]
    labels = {found.class_id: found.label for found in classes if found}
    ids = np.array([found.class_id if found else -1 for found in classes])
    frequent = [class_id for class_id, _ in Counter(ids[ids >= 0].tolist()).most_common(COLOURS)]
    layers = tuple(Layer(labels[class_id], places[ids == class_id]) for class_id in frequent)
    rest = places[~np.isin(ids, frequent)]
    other = Layer("other classes" if labels else "all images", rest) if len(rest) else None
    layer_of = {class_id: layer for layer, class_id in enumerate(frequent)}
    pins = [Pin((float(places[i, 0]), float(places[i, 1])), layer_of.get(int(ids[i]))) for i in chosen]
    return Map(layers, other, tuple(pins), variance)
