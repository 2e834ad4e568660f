"""Classify and embed a folder of images and print the first rows of the tables. ``make demo`` runs this script.

Without a folder, the script draws sample images. It uses the published models if TF-Hub can be reached, and otherwise
stand-ins, whose answers mean nothing. It keeps models and drawn images in ``.demo`` beside the output, so a second run
processes new images only.
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
SAMPLE_IMAGES = {  # name: width, height
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
ROWS = 15  # printed of each table

Row = dict[str, Any]


def main() -> int:
    """Run the demo and return the exit code of ``beamsight run``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", metavar="FOLDER", help="folder of images (default: sample images are drawn)")
    parser.add_argument(
        "--output",
        metavar="FOLDER",
        type=Path,
        default=Path("demo-output"),
        help="folder of the tables (default: %(default)s)",
    )
    arguments = parser.parse_args()
    output = arguments.output.absolute()
    cache = output.parent / ".demo"

    images = arguments.images or draw_images(cache / "pictures")
    classifier, embedder = prepare_bundles(cache / "models")
    print(f"Classifying and embedding {images}", flush=True)
    models = ("--classifier", str(classifier), "--embedder", str(embedder))
    code = run_beamsight("run", "--images", str(images), "--output", str(output), *models).returncode
    if code in (0, 1):  # 1: the tables are complete, but many images failed
        print_tables(output)
        print("\nThe report on these tables, a page for your browser:", flush=True)
        return run_beamsight("report", str(output)).returncode or code
    return code


def run_beamsight(*arguments: str, quiet: bool = False) -> subprocess.CompletedProcess[str]:
    """Run the command ``beamsight`` with this interpreter. With ``quiet``, capture its output instead of showing it."""
    command = [sys.executable, "-m", "beamsight", *arguments]
    return subprocess.run(command, check=False, capture_output=quiet, text=True)


def error_line(command: subprocess.CompletedProcess[str]) -> str:
    """Return the last line on stderr of a quiet command, which is its error message if it failed."""
    return command.stderr.strip().rpartition("\n")[2].removeprefix("beamsight: ")


def draw_images(folder: Path) -> Path:
    """Draw images of many sizes and formats, and half a file, which becomes a failure. Return their folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed, (name, (width, height)) in enumerate(SAMPLE_IMAGES.items()):
        if not (folder / name).exists():  # a new file is a new version, which would be processed again
            kind = Path(name).suffix[1:].replace("jpg", "jpeg")
            (folder / name).write_bytes(drawn.encode(drawn.draw(seed, width, height), kind))
    if not (folder / "broken.jpg").exists():
        whole = (folder / "landscape.jpg").read_bytes()
        (folder / "broken.jpg").write_bytes(whole[: len(whole) // 2])
    return folder


def prepare_bundles(folder: Path) -> list[Path]:
    """Return a bundle for each model: the published model if it can be downloaded, otherwise a stand-in."""
    bundles: list[Path] = []
    reachable = True
    for name, task in MODELS:
        published, standin = folder / f"{name}-{task}", folder / f"{name}-{task}-standin"
        staged = next((bundle for bundle in (published, standin) if (bundle / "model.json").exists()), None)
        if staged == standin:
            print(f"Using the stand-in for {name}: its answers mean nothing. To try TF-Hub again, remove {standin}")
        if staged is None and reachable:
            print(f"Downloading {name} from TF-Hub", flush=True)
            download = run_beamsight(
                *("models", "stage", name, "--task", task, "--to", str(published), "--timeout", "10"), quiet=True
            )
            if download.returncode == 0:
                staged = published
            else:
                reachable = False
                print(f"Models cannot be downloaded from TF-Hub: {error_line(download)}")
                print("Continuing with stand-ins, whose answers mean nothing", flush=True)
        if staged is None:
            print(f"Creating a stand-in for {name}, which takes about a minute", flush=True)
            creation = run_beamsight("models", "standin", name, "--task", task, "--to", str(standin), quiet=True)
            if creation.returncode:
                sys.exit(f"The stand-in for {name} cannot be created: {error_line(creation)}")
            staged = standin
        bundles.append(staged)
    return bundles


def print_tables(output: Path) -> None:
    """Print the paths of the tables of the last run, and their first rows."""
    report = max((output / "runs").glob("*.json"))  # names of reports begin with the time
    for name in (*json.loads(report.read_text(encoding="utf-8"))["models"], "failures"):
        folder = output / name
        if not folder.exists():
            continue
        table = pq.read_table(folder, partitioning=None)
        print(f"\n{folder}: {table.num_rows:,} row{'' if table.num_rows == 1 else 's'}")
        to_cells = {"predictions": prediction, "embeddings": embedding, "failures": failure}[name.partition("/")[0]]
        rows = table.sort_by("uri").slice(0, ROWS).to_pylist()
        print_aligned([to_cells(row) for row in rows])


def prediction(row: Row) -> list[str]:
    """Return the cells to print for a row of predictions: the file and the best three classes."""
    best = row["top_k"][:3]
    labels = (each["label"].partition(",")[0] for each in best)  # ImageNet lists synonyms; the first is enough
    return [file_name(row), *(f"{each['score']:.3f} {label}" for each, label in zip(best, labels, strict=True))]


def embedding(row: Row) -> list[str]:
    """Return the cells to print for a row of embeddings."""
    vector = row["embedding"]
    return [file_name(row), " ".join(f"{number:7.3f}" for number in vector[:5]), f"... {len(vector):,} numbers"]


def failure(row: Row) -> list[str]:
    """Return the cells to print for a row of failures."""
    return [file_name(row), f"{row['stage']}: {row['error']}", row["message"]]


def file_name(row: Row) -> str:
    """Return the last part of the URI of a row."""
    return str(row["uri"]).rpartition("/")[2]


def print_aligned(rows: Sequence[Sequence[str]]) -> None:
    """Print cells in aligned columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  " + "  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())


if __name__ == "__main__":
    sys.exit(main())
