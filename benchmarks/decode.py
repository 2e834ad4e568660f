"""Compare the time from the bytes of a file to the pixels for both models: beamsight and plain Pillow.

Plain Pillow is ``Image.open(file).convert("RGB")``, then crop and bicubic resize for each model. beamsight decodes once
for both models, resizes with SIMD instructions where they are installed, and decodes a JPEG at 1/2, 1/4 or 1/8 of its
size if that keeps enough pixels. The cosines between the vectors of the scaled and the full decode show the effect on
the vectors. Times are medians on one thread.
"""

from __future__ import annotations

import argparse
import io
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import starmap
from pathlib import Path

import numpy as np
import pillow_heif
from PIL import Image, features

from beamsight.models import registry
from benchmarks import bare, common, material
from benchmarks.common import Figures
from benchmarks.peers import shared
from transforms.imaging import decode, drawn, fit, resizing
from transforms.inference import bundle
from transforms.inference.spec import ModelSpec

SPECS = tuple(
    replace(registry.get(*model), resizer=resizing.best())
    for model in (("efficientnet-b7", "classify"), ("efficientnet-b6", "embed"))
)
FORMATS = {"JPEG": {"quality": 90}, "PNG": {"compress_level": 6}, "WebP": {"quality": 80}, "HEIF": {"quality": 80}}
OTHER_SIZES = ((1600, 1200), (4032, 3024))  # for formats other than JPEG
BASELINE = "Pillow"


def prepare_with_pillow(data: bytes) -> None:
    """Decode and fit for each model without optimizations."""
    image = Image.open(io.BytesIO(data)).convert("RGB")
    for spec in SPECS:
        shared.fit(image, spec.size)


def prepare_with_beamsight(data: bytes) -> None:
    """Decode once and fit for both models, as the pipeline does."""
    decoded = decode.decode_image(data, min_side=max(map(fit.min_side, SPECS)))
    for spec in SPECS:
        fit.fit_image(decoded.image, spec)


def milliseconds(work: Callable[[bytes], None], data: bytes) -> float:
    """Return the milliseconds of one call."""
    since = time.perf_counter()
    work(data)
    return 1000 * (time.perf_counter() - since)


def measure_speed(figures: Figures, repetitions: int) -> None:
    """Add the milliseconds for each image. The two take turns."""
    for kind, options in FORMATS.items():
        if kind == "WebP" and not features.check("webp"):
            figures.not_available(kind, "the installed Pillow was built without WebP")
            continue
        for width, height in material.SIZES if kind == "JPEG" else OTHER_SIZES:
            data = drawn.encode(drawn.draw(0, width, height), kind, **options)
            times = [
                (milliseconds(prepare_with_pillow, data), milliseconds(prepare_with_beamsight, data))
                for _ in range(repetitions)
            ]
            what = f"{kind.replace('HEIF', 'HEIC')} {width}x{height}"
            for name, samples in zip((BASELINE, "beamsight"), zip(*times, strict=True), strict=True):
                figures.add(name, what, statistics.median(samples), "ms", BASELINE)


def measure_vectors(figures: Figures, arguments: argparse.Namespace) -> None:
    """Add the cosines between the vectors of the scaled and the full decode, for JPEGs that are decoded scaled."""
    _, folder = material.bundles(arguments)
    spec = bundle.read(str(folder)).spec
    try:
        infer = bare.load(folder, "openvino", "f32")
    except bare.NotAvailable as error:
        common.progress(f"using TensorFlow for the vectors: {error}")
        infer = bare.load(folder, "tensorflow", "f32")
    full, scaled = [], []
    for data in _files(arguments, 2 * fit.min_side(spec)):
        full.append(decode_and_fit(data, spec, None))
        scaled.append(decode_and_fit(data, spec, fit.min_side(spec)))
    if not full:
        sys.exit(f"{arguments.images} contains no JPEG with {2 * fit.min_side(spec)} pixels or more on both sides")
    pairs = list(zip(infer(np.stack(full)), infer(np.stack(scaled)), strict=True))
    cosines = list(starmap(_cosine, pairs))
    # All vectors of a model have similar directions. The distance from their mean shows differences between images.
    centre = np.mean([a for a, _ in pairs], axis=0)
    apart = [(a - centre, b - centre) for a, b in pairs]
    name = f"scaled, {len(pairs)} images"
    for what, values in (("cosine", cosines), ("cosine from the mean", list(starmap(_cosine, apart)))):
        figures.add(name, f"least {what}", min(values), "")
        figures.add(name, f"mean {what}", statistics.mean(values), "")


def _cosine(a: bare.Floats, b: bare.Floats) -> float:
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))


def _files(arguments: argparse.Namespace, side: int) -> Iterator[bytes]:
    """Yield JPEGs with both sides of at least ``side`` pixels: those in ``--images``, or drawn ones."""
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


def decode_and_fit(data: bytes, spec: ModelSpec, min_side: int | None) -> bare.Pixels:
    """Return the pixels for the embedder, uint8[size, size, 3], from a scaled or a full decode."""
    return fit.fit_image(decode.decode_image(data, min_side=min_side).image, spec)


def main() -> None:
    """Measure speed, then vectors."""
    pillow_heif.register_heif_opener()  # Pillow writes HEIC files for the measurements
    parser = common.parser(__doc__)
    material.add_bundles(parser)
    parser.add_argument(
        "--repetitions", type=int, default=9, metavar="N", help="number of repetitions (default: %(default)s)"
    )
    parser.add_argument(
        "--pictures", type=int, default=16, metavar="N", help="number of images for the vectors (default: %(default)s)"
    )
    parser.add_argument(
        "--images", type=Path, metavar="FOLDER", help="folder of JPEGs for the vectors, instead of drawn images"
    )
    parser.add_argument("--no-vectors", action="store_true", help="skip the measurements that need a model")
    arguments = parser.parse_args()
    figures = Figures(arguments)
    measure_speed(figures, arguments.repetitions)
    if not arguments.no_vectors:
        measure_vectors(figures, arguments)
    figures.write(repetitions=arguments.repetitions)


if __name__ == "__main__":
    main()
