"""The options of ``beamsight models``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from beamsight import options
from beamsight.options import option
from transforms import defaults
from transforms.inference.spec import ChannelOrder, Crop, EngineName, Layout, Task

NO_LABELS = "none"
TIMEOUT = 60.0  # seconds

_INPUT = "input of the model"


@dataclass(frozen=True, slots=True)
class StageOptions:
    """Which model to stage, and where to. None is what was not given."""

    source: str = option(
        positional=True,
        metavar="SOURCE",
        help="Model: a registered name, a TF-Hub URL, a Kaggle handle, the folder of a SavedModel, its .tar.gz, or the "
        ".xml of an OpenVINO IR, with its .bin beside it",
    )
    to: str = option(metavar="FOLDER", help="Folder of the bundle, on a disk or gs://")
    name: str | None = option(
        None,
        help="Name of the model in the tables; a registered name also gives its specification",
        default_text="taken from the source",
    )
    task: Task | None = option(None, help="Task of the model")
    size: int | None = option(None, group=_INPUT, metavar="PIXELS", help="Side of the square input, in pixels")
    crop: Crop | None = option(None, group=_INPUT, help="Part of an image that the model gets", default_text="square")
    value_range: tuple[float, float] | None = option(
        None, group=_INPUT, metavar="LOW HIGH", help="Range of the input values", default_text="0 1"
    )
    channel_order: ChannelOrder | None = option(
        None, group=_INPUT, help="Order of the input channels", default_text="rgb"
    )
    layout: Layout | None = option(
        None,
        group=_INPUT,
        help="Layout of the input of an IR, for an input whose shape fits both",
        default_text="nhwc",
    )
    labels: str | None = option(
        None,
        metavar="FILE",
        help="Labels file with one class a line, or none for an embedder that has as many outputs as there are classes",
        default_text="the 1000 classes of ImageNet",
    )
    sha256: str | None = option(None, metavar="HASH", help="Content hash that the bundle must have")
    timeout: float = option(
        TIMEOUT, metavar="SECONDS", above=0, help="Longest silence of a server before the download fails, in seconds"
    )

    def __post_init__(self) -> None:
        options.check(self)


@dataclass(frozen=True, slots=True)
class StandinOptions:
    """Which stand-in to make."""

    name: str = option(positional=True, help="Name of a registered EfficientNet")
    to: str = option(metavar="FOLDER", help="Folder of the bundle, on a disk or gs://")
    task: Task | None = option(None, help="Task of the model")
    seed: int = option(0, at_least=0, help="Seed of the weights")

    def __post_init__(self) -> None:
        options.check(self)


@dataclass(frozen=True, slots=True)
class ShowOptions:
    """Which model to show."""

    name: str = option(positional=True, help="Registered name, or the folder of a bundle")


@dataclass(frozen=True, slots=True)
class CompareOptions:
    """What to compare, and on which images."""

    bundle: str = option(positional=True, metavar="BUNDLE", help="Folder of a bundle, on a disk or gs://")
    images: tuple[str, ...] = option(metavar="SOURCE", help="Images, as for `beamsight run`; may be repeated")
    precision: Literal["bf16", "int8"] = option("bf16", help="Precision to compare with f32")
    engine: Literal["auto", "openvino", "tensorflow"] = option("auto", help="Engine that runs both")
    limit: int = option(200, help="Number of images, chosen from all over them")
    uri_column: str = option(defaults.URI_COLUMN, help="Column of the manifests that holds the URIs")

    def __post_init__(self) -> None:
        options.check(self)

    @property
    def wanted_engine(self) -> EngineName | None:
        """The engine that was asked for, or None for the one that suits the machine."""
        return None if self.engine == "auto" else self.engine


@dataclass(frozen=True, slots=True)
class QuantizeOptions:
    """Which bundle gets an int8 form, calibrated on which images."""

    bundle: str = option(positional=True, metavar="BUNDLE", help="Folder of a bundle, on a disk or gs://")
    images: tuple[str, ...] = option(metavar="SOURCE", help="Images, as for `beamsight run`; may be repeated")
    agreement: float | None = option(
        None,
        metavar="SHARE",
        help="Agreement with f32 that the int8 form must reach: the share of images with the same best class for a "
        "classifier, the mean cosine for an embedder",
        default_text="0.97 for a classifier, 0.98 for an embedder",
    )
    limit: int = option(300, help="Number of images, chosen from all over them")
    uri_column: str = option(defaults.URI_COLUMN, help="Column of the manifests that holds the URIs")

    def __post_init__(self) -> None:
        options.check(self)
