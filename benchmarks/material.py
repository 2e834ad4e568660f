"""Provide the inputs of the benchmarks: seeded images and bundles. Read the answers that contenders write."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from benchmarks import common
from transforms.imaging import drawn, fit
from transforms.inference import bundle

SIZES = (  # width, height; from an old webcam to a phone with 12 megapixels
    (640, 480),
    (800, 600),
    (1024, 768),
    (1280, 960),
    (1600, 1200),
    (2048, 1536),
    (3264, 2448),
    (4032, 3024),
)
ONE = (1600, 1200)
MODELS = {"classifier": ("efficientnet-b7", "classify"), "embedder": ("efficientnet-b6", "embed")}

Vectors = dict[str, npt.NDArray[np.float32]]


def cache() -> Path:
    """Return the folder that keeps images and stand-ins between runs."""
    return bundle.cache_dir() / "benchmarks"


def pictures(count: int) -> Path:
    """Return a folder with ``count`` drawn JPEGs of alternating sizes, identical for each version of Pillow."""
    return _folder(f"pictures-{count}", [SIZES[index % len(SIZES)] for index in range(count)])


def one_picture() -> Path:
    """Return a folder with one image of medium size."""
    return _folder("picture", [ONE])


def _folder(name: str, sizes: Sequence[tuple[int, int]]) -> Path:
    folder = cache() / name
    if not folder.exists():
        common.progress(f"drawing {len(sizes)} images into {folder}")
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
            complete = Path(scratch, name)
            complete.mkdir()
            for seed, (width, height) in enumerate(sizes):
                data = drawn.encode(drawn.draw(seed, width, height), quality=90)
                (complete / f"{seed:05}-{width}x{height}.jpg").write_bytes(data)
            complete.rename(folder)
    return folder


def is_decoded_scaled(name: str) -> bool:
    """Return whether beamsight decodes an image at half its size or less, judging by the size in its file name."""
    width, height = name.rpartition("-")[2].removesuffix(".jpg").split("x")
    return min(int(width), int(height)) >= 2 * fit.DRAFT_SIDE


def add_bundles(parser: argparse.ArgumentParser) -> None:
    """Add ``--classifier`` and ``--embedder``."""
    for option, (name, _) in MODELS.items():
        parser.add_argument(
            f"--{option}",
            type=Path,
            metavar="BUNDLE",
            help=f"folder of a bundle (default: a stand-in for {name}, created on first use)",
        )


def bundles(arguments: argparse.Namespace) -> tuple[Path, Path]:
    """Return the bundles of the classifier and the embedder."""
    classifier, embedder = (_bundle(getattr(arguments, option), *model) for option, model in MODELS.items())
    return classifier, embedder


def _bundle(given: Path | None, name: str, task: str) -> Path:
    if given is not None:
        if not (given / bundle.MODEL_JSON).exists():
            sys.exit(f"{given} is not a bundle; create one with `beamsight models stage` or `beamsight models standin`")
        return given.absolute()
    folder = cache() / f"{name}-{task}"
    if not (folder / bundle.MODEL_JSON).exists():
        common.progress(f"creating a stand-in for {name} at {folder}")
        command = [*common.BEAMSIGHT, "models", "standin", name, "--task", task, "--to", str(folder)]
        subprocess.run(command, check=True, cwd=common.ROOT, stdout=sys.stderr)
    return folder


def read_answers(folder: Path) -> tuple[dict[str, int], Vectors]:
    """Return the best class and the vector of each image, by file name, from the Parquet files below a folder."""
    classes: dict[str, int] = {}
    vectors: Vectors = {}
    for path in sorted(folder.rglob("*.parquet")):
        with path.open("rb") as file:
            table = pq.ParquetFile(file).read()
        if "failures" in path.parts or not table.num_rows:
            continue
        names = [str(uri).rpartition("/")[2] for uri in table["uri"].to_pylist()]
        if "class_id" in table.column_names:
            classes |= zip(names, table["class_id"].to_pylist(), strict=True)
        if "embedding" in table.column_names:
            values = (np.asarray(row, np.float32) for row in table["embedding"].to_pylist())
            vectors |= zip(names, values, strict=True)
    return classes, vectors


def cosines(left: Vectors, right: Vectors) -> npt.NDArray[np.float64]:
    """Return the cosine of each pair of vectors with the same name, float64[N]."""
    pairs = [(left[name].astype(np.float64), right[name].astype(np.float64)) for name in left.keys() & right.keys()]
    return np.array([a @ b / (np.linalg.norm(a) * np.linalg.norm(b)) for a, b in pairs])
