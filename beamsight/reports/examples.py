"""The images of a page: some with their classes and nearest neighbours, and a map of the whole sample."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from beamsight.reports import duplicates, vectors
from beamsight.reports.classes import Key, TopClass
from beamsight.reports.duplicates import NearDuplicates
from beamsight.reports.thumbnails import Thumbnail, Thumbnails
from beamsight.reports.vectors import Floats, Image, Sample
from transforms import vector_math

SHOWN = 12  # images with classes and neighbours
NEIGHBOURS = 4  # for each image
COLOURS = 6  # classes with their own colour on the map
GROUPS = 6  # groups of near-duplicates
TRIED = 4 * SHOWN  # images to read at most, as some may be gone


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A neighbour of an image: its best class, if there are predictions, and the cosine of the two vectors."""

    image: Image
    thumbnail: Thumbnail | None
    label: str | None
    cosine: float


@dataclass(frozen=True, slots=True)
class Card:
    """An image with its classes and neighbours.

    Attributes:
        index: Index into the sample.
        best: The k best classes; empty without predictions.
        neighbours: The nearest images first; empty without vectors.
    """

    index: int
    image: Image
    thumbnail: Thumbnail
    best: tuple[TopClass, ...]
    neighbours: tuple[Neighbour, ...]


@dataclass(frozen=True, slots=True)
class Layer:
    """A class on the map. points: positions of its images, float32[N, 2] in 0..1."""

    label: str
    points: Floats


@dataclass(frozen=True, slots=True)
class Pin:
    """The position of a card on the map, 0..1, and the index of its layer; None for other classes."""

    place: tuple[float, float]
    layer: int | None


@dataclass(frozen=True, slots=True)
class Map:
    """The sample on the two main axes of its vectors.

    Attributes:
        layers: The most frequent classes.
        other: All other images; None if there are none.
        pins: One for each card, in the same order.
        variance: Share of the variance that the two axes explain, 0..1.
    """

    layers: tuple[Layer, ...]
    other: Layer | None
    pins: tuple[Pin, ...]
    variance: float


@dataclass(frozen=True, slots=True)
class Group:
    """Near-duplicates: their number, some of them with thumbnails, and the greatest cosine of two."""

    count: int
    members: tuple[tuple[Image, Thumbnail | None], ...]
    cosine: float


@dataclass(frozen=True, slots=True)
class Samples:
    """The parts of a page that show single images.

    Attributes:
        count: Size of the sample.
        missing: Images that could not be read, by the class of the error.
        map: None without vectors, or for fewer than 3.
        near: The closest groups of near-duplicates.
        near_groups: Number of all these groups.
        health: Invalid vectors; None without vectors.
    """

    count: int
    cards: tuple[Card, ...]
    missing: Mapping[str, int]
    map: Map | None
    near: tuple[Group, ...]
    near_groups: int
    health: vectors.Health | None


def build(sample: Sample, best: Mapping[Key, tuple[TopClass, ...]]) -> Samples:
    """Choose the images to show, and read them for their thumbnails."""
    has_vectors = bool(sample.vectors.size)
    unit = vectors.unit_length(sample.vectors)
    cosines = vector_math.cosine_matrix(unit, unit)
    health = vectors.health(sample) if has_vectors else None
    thumbnails = Thumbnails()
    chosen = _readable(sample.images, thumbnails)
    near_by = {index: vectors.nearest(cosines, index, NEIGHBOURS) if has_vectors else [] for index in chosen}
    distinct = health is not None and (health.median_cosine is None or health.median_cosine <= vectors.ALIKE)
    groups = duplicates.find_near(sample.images, cosines) if distinct else []
    missing = thumbnails.reasons()
    thumbnails.load([sample.images[other] for near in near_by.values() for other, _ in near])
    thumbnails.load([sample.images[index] for group in groups[:GROUPS] for index in group.members[: duplicates.NAMED]])
    cards = tuple(
        Card(
            index,
            sample.images[index],
            thumbnails.loaded[sample.images[index].key],
            best.get(sample.images[index].key, ()),
            tuple(_neighbour(sample.images[other], cosine, thumbnails, best) for other, cosine in near_by[index]),
        )
        for index in chosen
    )
    return Samples(
        count=len(sample.images),
        cards=cards,
        missing=missing,
        map=_map(sample.images, unit, best, chosen) if has_vectors and len(sample.images) > 2 else None,
        near=tuple(_group(group, sample.images, thumbnails) for group in groups[:GROUPS]),
        near_groups=len(groups),
        health=health,
    )


def _readable(images: Sequence[Image], thumbnails: Thumbnails) -> list[int]:
    """Return the indices of the first images that can still be read, without exact duplicates."""
    readable: dict[str, int] = {}
    candidates = iter(range(min(len(images), TRIED)))
    while len(readable) < SHOWN and (indices := list(islice(candidates, SHOWN))):
        thumbnails.load([images[index] for index in indices])
        for index in indices:
            if images[index].key in thumbnails.loaded and len(readable) < SHOWN:
                readable.setdefault(images[index].sha256, index)
    return list(readable.values())


def _neighbour(
    image: Image, cosine: float, thumbnails: Thumbnails, best: Mapping[Key, tuple[TopClass, ...]]
) -> Neighbour:
    classes = best.get(image.key)
    return Neighbour(image, thumbnails.get(image), classes[0].label if classes else None, cosine)


def _group(group: NearDuplicates, images: Sequence[Image], thumbnails: Thumbnails) -> Group:
    shown = [images[index] for index in group.members[: duplicates.NAMED]]
    return Group(len(group.members), tuple((image, thumbnails.get(image)) for image in shown), group.greatest)


def _map(images: Sequence[Image], unit: Floats, best: Mapping[Key, tuple[TopClass, ...]], chosen: Sequence[int]) -> Map:
    places, variance = vectors.project(unit)
    low, high = places.min(axis=0), places.max(axis=0)
    places = (places - low) / np.where(high > low, high - low, 1)
    classes = [best[image.key][0] if best.get(image.key) else None for image in images]
    labels = {top.class_id: top.label for top in classes if top}
    ids = np.array([top.class_id if top else -1 for top in classes])
    frequent = [class_id for class_id, _ in Counter(ids[ids >= 0].tolist()).most_common(COLOURS)]
    layers = tuple(Layer(labels[class_id], places[ids == class_id]) for class_id in frequent)
    rest = places[~np.isin(ids, frequent)]
    other = Layer("other classes" if labels else "all images", rest) if len(rest) else None
    layer_of = {class_id: layer for layer, class_id in enumerate(frequent)}
    pins = [Pin((float(places[i, 0]), float(places[i, 1])), layer_of.get(int(ids[i]))) for i in chosen]
    return Map(layers, other, tuple(pins), variance)
