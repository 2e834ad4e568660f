"""Classify and embed a folder of pictures, or some drawn for it, and show the tables: what ``make demo`` runs.

The published models are used where TF-Hub can be reached, and stand-ins, whose answers mean nothing, where it cannot.
Models and drawn pictures are kept in ``.demo`` beside the output, so a second run has only new pictures to do.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from transforms.imaging import drawn

MODELS = (("efficientnet-b7", "classify"), ("efficientnet-b6", "embed"))
PICTURES = {  # name: width, height
    "landscape.jpg": (1600, 900),
    "large.jpg": (4000, 3000),
    "narrow.png": (40, 800),
    "page.tiff": (1240, 1754),
    "panorama.jpg": (2400, 600),
    "photo.avif": (1024, 768),
    "photo.bmp": (640, 480),
    "photo.webp": (1280, 960),
    "portrait.jpg": (900, 1200),
    "sign.gif": (128, 128),
    "small.png": (64, 48),
    "square.png": (600, 600),
}
ROWS = 15  # of each table

Row = dict[str, Any]


def main() -> int:
    """Exit code: that of ``beamsight run``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", metavar="FOLDER", help="pictures to do (default: some are drawn)")
    parser.add_argument("--output", metavar="FOLDER", type=Path, default=Path("demo-output"), help="%(default)s")
    asked = parser.parse_args()
    output = asked.output.absolute()
    kept = output.parent / ".demo"

    images = asked.images or draw_pictures(kept / "pictures")
    classifier, embedder = bundles(kept / "models")
    print(f"Classifying and embedding {images}", flush=True)
    models = ("--classifier", str(classifier), "--embedder", str(embedder))
    code = beamsight("run", "--images", str(images), "--output", str(output), *models).returncode
    if code in (0, 1):  # 1: the tables are there, and many images failed
        show(output)
        print("\nThe same as a page, to open in a browser:", flush=True)
        return beamsight("report", str(output)).returncode or code
    return code


def beamsight(*arguments: str, quiet: bool = False) -> subprocess.CompletedProcess[str]:
    """The command ``beamsight`` with this interpreter; what it says is kept back if ``quiet``."""
    command = [sys.executable, "-m", "beamsight", *arguments]
    return subprocess.run(command, check=False, capture_output=quiet, text=True)


def said(command: subprocess.CompletedProcess[str]) -> str:
    """The last line that a quiet command would have shown, which is its error if it failed."""
    return command.stderr.strip().rpartition("\n")[2].removeprefix("beamsight: ")


def draw_pictures(folder: Path) -> Path:
    """Pictures of many sizes and formats, and half a file, to show what becomes of one that cannot be read."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed, (name, (width, height)) in enumerate(PICTURES.items()):
        if not (folder / name).exists():  # a new file would be a new version, and done again
            kind = Path(name).suffix[1:].replace("jpg", "jpeg")
            (folder / name).write_bytes(drawn.encode(drawn.draw(seed, width, height), kind))
    if not (folder / "broken.jpg").exists():
        whole = (folder / "landscape.jpg").read_bytes()
        (folder / "broken.jpg").write_bytes(whole[: len(whole) // 2])
    return folder


def bundles(folder: Path) -> list[Path]:
    """A bundle of each model, staged before or now: the published one, or else a stand-in."""
    found: list[Path] = []
    reachable = True
    for name, task in MODELS:
        published, standin = folder / f"{name}-{task}", folder / f"{name}-{task}-standin"
        staged = next((bundle for bundle in (published, standin) if (bundle / "model.json").exists()), None)
        if staged == standin:
            print(f"Taking the stand-in for {name}: its answers mean nothing. To try TF-Hub again, remove {standin}")
        if staged is None and reachable:
            print(f"Fetching {name} from TF-Hub", flush=True)
            fetching = beamsight(
                *("models", "stage", name, "--task", task, "--to", str(published), "--timeout", "10"), quiet=True
            )
            if fetching.returncode == 0:
                staged = published
            else:
                reachable = False
                print(f"TF-Hub gives no models here: {said(fetching)}")
                print("Going on with stand-ins, whose answers mean nothing", flush=True)
        if staged is None:
            print(f"Making a stand-in for {name}, about a minute", flush=True)
            making = beamsight("models", "standin", name, "--task", task, "--to", str(standin), quiet=True)
            if making.returncode:
                sys.exit(f"no stand-in for {name} could be made: {said(making)}")
            staged = standin
        found.append(staged)
    return found


def show(output: Path) -> None:
    """Print where the tables of the last run are, and their first rows."""
    report = max((output / "runs").glob("*.json"))  # their names begin with the time
    for name in (*json.loads(report.read_text(encoding="utf-8"))["models"], "failures"):
        folder = output / name
        if not folder.exists():
            continue
        table = pq.read_table(folder, partitioning=None)
        print(f"\n{folder}: {table.num_rows:,} row{'' if table.num_rows == 1 else 's'}")
        shown = {"predictions": prediction, "embeddings": embedding, "failures": failure}[name.partition("/")[0]]
        rows = table.sort_by("uri").slice(0, ROWS).to_pylist()
        print_aligned([shown(row) for row in rows])


def prediction(row: Row) -> list[str]:
    """A row of predictions -> the cells to print: the file, the best class, and the next two."""
    best = row["top_k"][:3]
    labels = (found["label"].partition(",")[0] for found in best)  # the first of ImageNet's synonyms
    return [file_name(row), *(f"{found['score']:.3f} {label}" for found, label in zip(best, labels, strict=True))]


def embedding(row: Row) -> list[str]:
    """A row of embeddings -> the cells to print."""
    vector = row["embedding"]
    return [file_name(row), " ".join(f"{number:7.3f}" for number in vector[:5]), f"... {len(vector):,} numbers"]


def failure(row: Row) -> list[str]:
    """A row of failures -> the cells to print."""
    return [file_name(row), f"{row['stage']}: {row['error']}", row["message"]]


def file_name(row: Row) -> str:
    """The last part of a row's URI."""
    return str(row["uri"]).rpartition("/")[2]


def print_aligned(rows: Sequence[Sequence[str]]) -> None:
    """Print cells in columns, each as wide as its widest cell."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  " + "  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())


if __name__ == "__main__":
    sys.exit(main())
