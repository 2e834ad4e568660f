"""Compare images in a tar with the same images as objects, both on gs:// over HTTP, with and without the models.

The server is the emulator of the tests, in this process. It is slower than Google's for each request, and faster for
each byte. The figures are medians:

- without models: images/s of the whole pipeline with engines that cost nothing, see ``benchmarks.overhead``.
- with models: images/s of the command after the start, with the bundles of ``benchmarks.pipeline``.
- requests: downloads for each 4 MiB of the tar.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import statistics
import sys
import tarfile
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks import common, material, overhead
from transforms.imaging import drawn

sys.path.append(str(common.ROOT / "tests"))

from gcs_server import Bucket, GcsServer

LOOSE, TAR = "objects", "tar"
DISTINCT = 50  # different images
SIZE = (640, 480)

_CREDENTIALS = {"type": "authorized_user", "client_id": "a", "client_secret": "a", "refresh_token": "a", "token": "a"}


@contextmanager
def serve(folder: Path) -> Iterator[Bucket]:
    """Start a server, and let child processes find it and nothing else."""
    credentials = folder / "credentials.json"
    expiry = {"quota_project_id": "benchmark", "expiry": "2099-01-01T00:00:00Z"}
    credentials.write_text(json.dumps(_CREDENTIALS | expiry), encoding="utf-8")
    with GcsServer() as server:
        os.environ.update(
            STORAGE_EMULATOR_HOST=server.url,
            GOOGLE_CLOUD_PROJECT="benchmark",
            GOOGLE_APPLICATION_CREDENTIALS=str(credentials),
            NO_GCE_CHECK="true",
            DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA="true",
        )
        yield Bucket.made(server, "benchmark")


def fill(bucket: Bucket, folder: str, count: int) -> dict[str, str]:
    """Store the same images as objects and in a tar. Return both sources."""
    images = [drawn.encode(drawn.draw(number, *SIZE), quality=90) for number in range(min(count, DISTINCT))]
    with io.BytesIO() as buffer:
        with tarfile.open(fileobj=buffer, mode="w") as tar:
            for number in range(count):
                name, data = f"{number:06}.jpg", images[number % len(images)]
                bucket.put(f"{folder}/{name}", data)
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
        bucket.put(f"{folder}.tar", buffer.getvalue())
    return {LOOSE: bucket.uri(f"{folder}/"), TAR: bucket.uri(f"{folder}.tar")}


def run_without_models(source: str, count: int) -> float:
    """Return the images/s of the pipeline without models."""
    with tempfile.TemporaryDirectory(prefix="beamsight-benchmark-") as scratch:
        done = common.measure([sys.executable, "-m", "benchmarks.shards", "--inside", scratch, "--source", source])
    if done.code:
        sys.exit(f"{source}: {done.message}")
    result = json.loads(done.output)
    if result["images"] != count:
        sys.exit(f"{source}: {result['images']:,} of {count:,} images were processed")
    return float(count / result["seconds"])


def run_command(source: str, bundles: tuple[Path, Path]) -> float:
    """Return the seconds of the command with models."""
    models = ("--classifier", bundles[0], "--embedder", bundles[1])
    with tempfile.TemporaryDirectory(prefix="beamsight-benchmark-") as output:
        done = common.measure([*common.BEAMSIGHT, "run", "--images", source, "--output", output, *models])
    if done.code:
        sys.exit(f"{source}: {done.message}")
    return done.seconds


def main() -> None:
    """Run all repetitions, then print the figures."""
    parser = common.parser(__doc__)
    material.add_bundles(parser)
    parser.add_argument("--images", type=int, default=2_000, metavar="N", help="without models (default: %(default)s)")
    parser.add_argument("--pictures", type=int, default=48, metavar="N", help="with models (default: 48)")
    parser.add_argument("--repetitions", type=int, default=3, metavar="N", help="repetitions (default: %(default)s)")
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)  # for the processes that main starts
    parser.add_argument("--source", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.inside is not None:
        overhead.run(arguments.inside, arguments.source)
        return
    figures = common.Figures(arguments)
    speeds: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory(prefix="beamsight-benchmark-") as scratch, serve(Path(scratch)) as bucket:
        free = fill(bucket, "free", arguments.images)
        one, every = (fill(bucket, f"models-{count}", count) for count in (1, arguments.pictures))
        bundles = material.bundles(arguments)
        for repetition in range(arguments.repetitions):
            common.progress(f"repetition {repetition + 1} of {arguments.repetitions}")
            for name, source in free.items():
                bucket.gcs.reset()
                speeds["without models", name].append(run_without_models(source, arguments.images))
                downloads = sum("free" in path for path in bucket.gcs.media())
                speeds["requests", name].append(downloads / (len(bucket.get("free.tar")) / (4 << 20)))
            for name in every:
                seconds = run_command(every[name], bundles) - run_command(one[name], bundles)
                speeds["with models", name].append((arguments.pictures - 1) / seconds)
    for (what, name), values in sorted(speeds.items()):
        figures.add(name, what, statistics.median(values), "a 4 MiB" if what == "requests" else "images/s", LOOSE)
    figures.write(images=arguments.images, pictures=arguments.pictures, repetitions=arguments.repetitions)


if __name__ == "__main__":
    main()
