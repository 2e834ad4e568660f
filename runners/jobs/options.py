"""The options of a job, which ``run``, ``submit``, and ``nightly`` share."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from beamsight import options
from beamsight.options import option
from beamsight.reports.criteria import MaxFailures
from runners.jobs.webhook import Webhook
from transforms import defaults
from transforms.inference.spec import EngineName, Precision, Task
from transforms.storage.web_access import Access

NO_MODEL = "none"

EngineChoice = Literal["auto", "openvino", "tensorflow"]
ResizerChoice = Literal["auto", "simd", "pillow"]

IMAGES, MODELS, TABLES, AGAIN, LIMITS, SUCCESS, SPEED = (
    "images",
    "models",
    "content of the tables",
    "images that are tried again",
    "limits",
    "success of the run",
    "performance",
)

_URI = r"[a-z][a-z0-9+]*://[^|]+"
_MODEL = f"none|[a-z0-9_-]+|{_URI}"


@dataclass(frozen=True, slots=True)
class Night:
    """The days of a ``nightly`` run, as the run report keeps them.

    patterns: ``--images`` as they were given. days: In the form 2026-11-20. waiting: The days for which a pattern
    matches no image yet. warnings: Messages about patterns whose folder does not exist. by_source: The day that each
    source of the run is for.
    """

    patterns: tuple[str, ...]
    days: tuple[str, ...]
    waiting: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    by_source: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What a job does, and how. night: The days of the images, for ``beamsight nightly``."""

    images: tuple[str, ...] = option(
        group=IMAGES,
        metavar="SOURCE",
        help="Images to process: a file, a folder, a glob ('*' within a folder, '**' across folders), a shard that "
        "holds images (.tar, .tar.gz, .zip, .parquet, .tfrecord), or a manifest (.txt, .csv, .tsv, .jsonl, .parquet, "
        "also .gz); on a disk, gs://, or another file system of Beam; may be repeated; images on https:// are named in "
        "a manifest",
        pattern=f"{_URI}([|]{_URI})*",  # the launcher of a template sees no disk but its own
    )
    output: str = option(group=IMAGES, metavar="FOLDER", help="Folder of the tables, on a disk or gs://", pattern=_URI)
    classifier: str = option(
        "efficientnet-b7",
        group=MODELS,
        metavar="MODEL",
        help="Model that classifies: a name from `beamsight models list`, the folder of a bundle, or none",
        pattern=_MODEL,
    )
    embedder: str = option(
        "efficientnet-b6",
        group=MODELS,
        metavar="MODEL",
        help="Model that makes the vectors: a name, the folder of a bundle, or none",
        pattern=_MODEL,
    )
    uri_column: str = option(defaults.URI_COLUMN, group=IMAGES, help="Column of the manifests that holds the URIs")
    image_column: str | None = option(
        None,
        group=IMAGES,
        help="Column of Parquet files that holds the bytes of images",
        default_text="the only column of bytes",
    )
    image_feature: str = option(
        defaults.IMAGE_FEATURE, group=IMAGES, help="Feature of the records in TFRecord files that holds the bytes"
    )
    precision: Precision = option(
        "f32",
        group=MODELS,
        help="Numeric precision of the models; bf16 is fast on processors that have it, int8 needs quantized bundles",
    )
    engine: EngineChoice = option(
        "auto", group=MODELS, help="Engine that runs the models; auto is openvino on CPUs and tensorflow on GPUs"
    )
    resizer: ResizerChoice = option(
        "auto",
        group=MODELS,
        help="Code that resizes the images; simd is 6 times as fast as pillow, and gives a few pixels a neighbouring "
        "value; auto is simd where it is installed",
    )
    engine_threads: int | None = option(None, group=MODELS, help="Number of cores for the models", default_text="all")
    top_k: int = option(5, group=TABLES, metavar="K", help="Number of classes for each image")
    probabilities: bool = option(False, group=TABLES, help="Column with the probabilities of all classes")
    normalize: bool = option(False, group=TABLES, help="Vectors of length 1")
    retry_failed: bool = option(False, group=AGAIN, help="Another try for images that failed permanently before")
    max_attempts: int = option(
        defaults.MAX_ATTEMPTS,
        group=AGAIN,
        help="Number of runs in which an image may fail with a transient error before the failure is permanent",
    )
    check_versions: bool = option(
        False, group=AGAIN, help="Look-up of the current version of every image that a manifest names"
    )
    max_pixels: int = option(defaults.MAX_PIXELS, group=LIMITS, help="Maximum number of pixels of an image")
    max_bytes: int = option(defaults.MAX_BYTES, group=LIMITS, help="Maximum size of an image file, in bytes")
    fetch_timeout: float = option(
        defaults.FETCH_TIMEOUT,
        group=LIMITS,
        metavar="SECONDS",
        above=0,
        help="Maximum time for the download of an image from gs:// or https://, over all attempts, in seconds",
    )
    per_host: int = option(
        defaults.PER_HOST,
        group=LIMITS,
        help="Maximum number of concurrent requests to a host of https:// or http://, from each worker",
    )
    allow_private_hosts: bool = option(
        False,
        group=LIMITS,
        help="Images on https:// and http:// from hosts whose addresses are not public; by default, these are refused, "
        "also as the target of a redirect",
    )
    ignore_robots_tags: bool = option(
        False,
        group=LIMITS,
        help="Images whose server forbids their use with the header X-Robots-Tag (noai, noimageai, noindex, "
        "noimageindex, none); by default, these fail",
    )
    max_failures: MaxFailures = option(
        MaxFailures(share=0.1),
        group=SUCCESS,
        metavar="N|P%",
        help="Number or share of failed images above which the exit code is 1",
        pattern="[0-9]+|[0-9]+([.][0-9]*)?([eE][+-]?[0-9]+)?%",
    )
    expect_at_least: int | None = option(
        None, group=SUCCESS, help="Number of different listed images below which the exit code is 5"
    )
    on_finish: Webhook | None = option(
        None,
        group=SUCCESS,
        metavar="URL",
        help="Webhook that receives the run report as JSON when the run ends; the run does not fail if it cannot",
        template="no process is left to post the report, and parameters are visible to others; use `submit --wait`",
    )
    unit_size: int = option(
        defaults.UNIT_SIZE, group=SPEED, help="Number of images in a unit, which is the most that a lost worker loses"
    )
    batch_size: int | None = option(
        None, group=SPEED, help="Number of images in one call of a model", default_text="depends on the engine"
    )
    threads: int | None = option(
        None,
        group=SPEED,
        help="Maximum number of concurrent downloads",
        default_text="12, or the number of cores if that is larger",
    )
    limit: int | None = option(
        None,
        group=IMAGES,
        one_run=True,
        help="Maximum number of missing images to process, in the order of their URIs",
        default_text="all",
    )
    night: Night | None = None

    def __post_init__(self) -> None:
        options.check(self)

    @property
    def access(self) -> Access:
        """Which hosts of https:// and http:// may be asked, and how often."""
        return Access(self.per_host, self.allow_private_hosts, not self.ignore_robots_tags)

    @property
    def models(self) -> tuple[tuple[str, Task], ...]:
        """The models that were asked for, and their tasks."""
        return (self.classifier, "classify"), (self.embedder, "embed")

    @property
    def wanted_engine(self) -> EngineName | None:
        """The engine that was asked for, or None for the one that suits the machine."""
        return None if self.engine == "auto" else self.engine

    def to_json(self) -> dict[str, Any]:
        """Return plain values for the run report. The webhook's path, which may hold a secret, is left out."""
        values = dataclasses.asdict(self)
        shown = {"on_finish": self.on_finish and str(self.on_finish), "max_failures": str(self.max_failures)}
        return values | shown | {"images": list(self.images)}
