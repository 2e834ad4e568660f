"""A file -> the pixels for both models: beamsight beside Pillow without tricks, by format and size.

Pillow without tricks is ``Image.open(file).convert("RGB")``, then for each model crop and bicubic resize. beamsight
decodes once for both, a JPEG at 1/2, 1/4 or 1/8 where that keeps enough pixels. What this does to the vectors is told
by the cosines between those of the scaled and those of the full decode. One thread; medians.
"""

from __future__ import annotations

import argparse
import io
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from itertools import starmap
from pathlib import Path

import numpy as np
from PIL import Image, features

from beamsight.models import registry
from benchmarks import bare, common, material
from benchmarks.common import Figures
from benchmarks.peers import shared
from transforms.imaging import decode, drawn, fit
from transforms.inference import bundle
from transforms.inference.spec import ModelSpec

SPECS = (registry.get("efficientnet-b7", "classify"), registry.get("efficientnet-b6", "embed"))
FORMATS = {"JPEG": {"quality": 90}, "PNG": {"compress_level": 6}, "WebP": {"quality": 80}, "HEIF": {"quality": 80}}
OTHERS = ((1600, 1200), (4032, 3024))  # of what is not JPEG
BARE = "Pillow"


def plain(data: bytes) -> None:
    """As one writes it at first."""
    image = Image.open(io.BytesIO(data)).convert("RGB")
    for spec in SPECS:
        shared.fit(image, spec.size)


def ours(data: bytes) -> None:
    """As the pipeline does it for these two models."""
    decoded = decode.decode_image(data, min_side=max(map(fit.min_side, SPECS)))
    for spec in SPECS:
        fit.fit_image(decoded.image, spec)


def milliseconds(work: Callable[[bytes], None], data: bytes) -> float:
    """Of one call."""
    since = time.perf_counter()
    work(data)
    return 1000 * (time.perf_counter() - since)


def speed(figures: Figures, repetitions: int) -> None:
    """Milliseconds a picture, the two in turn."""
    for kind, options in FORMATS.items():
        if kind == "WebP" and not features.check("webp"):
            figures.not_available(kind, "this Pillow was built without it")
            continue
        for width, height in material.SIZES if kind == "JPEG" else OTHERS:
            data = drawn.encode(drawn.draw(0, width, height), kind, **options)
            times = [(milliseconds(plain, data), milliseconds(ours, data)) for _ in range(repetitions)]
            what = f"{kind.replace('HEIF', 'HEIC')} {width}x{height}"
            for name, found in zip((BARE, "beamsight"), zip(*times, strict=True), strict=True):
                figures.add(name, what, statistics.median(found), "ms", BARE)


def vectors(figures: Figures, arguments: argparse.Namespace) -> None:
    """Cosine between the vectors of the scaled and of the full decode, over drawn JPEGs that are decoded scaled."""
    _, folder = material.bundles(arguments)
    spec = bundle.read(str(folder)).spec
    try:
        infer = bare.load(folder, "openvino", "f32")
    except bare.NotAvailable as error:
        common.progress(f"TensorFlow makes the vectors: {error}")
        infer = bare.load(folder, "tensorflow", "f32")
    full, scaled = [], []
    for data in _files(arguments, 2 * fit.min_side(spec)):
        full.append(fitted(data, spec, None))
        scaled.append(fitted(data, spec, fit.min_side(spec)))
    if not full:
        sys.exit(f"{arguments.images} holds no JPEG whose sides are {2 * fit.min_side(spec)} pixels or more")
    pairs = list(zip(infer(np.stack(full)), infer(np.stack(scaled)), strict=True))
    cosines = list(starmap(_cosine, pairs))
    # All vectors of a model point much the same way; what pictures differ by is their distance from the mean.
    centre = np.mean([a for a, _ in pairs], axis=0)
    apart = [(a - centre, b - centre) for a, b in pairs]
    name = f"scaled, {len(pairs)} pictures"
    for what, values in (("cosine", cosines), ("cosine from the mean", list(starmap(_cosine, apart)))):
        figures.add(name, f"least {what}", min(values), "")
        figures.add(name, f"mean {what}", statistics.mean(values), "")


def _cosine(a: bare.Floats, b: bare.Floats) -> float:
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))


def _files(arguments: argparse.Namespace, side: int) -> Iterator[bytes]:
    """JPEGs whose sides are at least ``side``: the user's own, or drawn ones."""
    if arguments.images is None:
        sizes = [size for size in material.SIZES if min(size) >= side]
        for seed in range(arguments.pictures):
            yield drawn.encode(drawn.draw(seed, *sizes[seed % len(sizes)]), quality=90)
        return
    for path in sorted(arguments.images.iterdir()):
        if path.suffix.lower() in (".jpg", ".jpeg"):
            with Image.open(path) as image:
                large = min(image.size) >= side
            if large:
                yield path.read_bytes()


def fitted(data: bytes, spec: ModelSpec, min_side: int | None) -> bare.Pixels:
    """The pixels that the embedder takes, from a scaled or a full decode."""
    return fit.fit_image(decode.decode_image(data, min_side=min_side).image, spec)


def main() -> None:
    """Speed, then vectors."""
    parser = common.parser(__doc__)
    material.add_bundles(parser)
    parser.add_argument("--repetitions", type=int, default=9, metavar="N", help="default: %(default)s")
    parser.add_argument("--pictures", type=int, default=16, metavar="N", help="for the vectors (default: %(default)s)")
    parser.add_argument("--images", type=Path, metavar="FOLDER", help="JPEGs for the vectors instead of drawn pictures")
    parser.add_argument("--no-vectors", action="store_true", help="leave out what needs a model")
    arguments = parser.parse_args()
    figures = Figures(arguments)
    speed(figures, arguments.repetitions)
    if not arguments.no_vectors:
        vectors(figures, arguments)
    figures.write(repetitions=arguments.repetitions)


if __name__ == "__main__":
    main()
