"""The models that are known by name.

Sizes, widths and handles are those of the publisher's pages, https://tfhub.dev/google/collections/efficientnet/1, and
of the Open Model Zoo's ``models/public/efficientnet-b7_auto_aug/README.md``.
"""

from __future__ import annotations

from transforms.errors import UsageError
from transforms.inference.spec import ModelSpec, Task

IMAGENET_CLASSES = 1000

_SIZES = (224, 240, 260, 300, 380, 456, 528, 600)
_FEATURES = (1280, 1280, 1408, 1536, 1792, 2048, 2304, 2560)
_HUB = "https://tfhub.dev/tensorflow/efficientnet"


def _classifier(variant: int) -> ModelSpec:
    return ModelSpec(
        name=f"efficientnet-b{variant}",
        task="classify",
        size=_SIZES[variant],
        width=IMAGENET_CLASSES,
        # The page says logits, the export ends in a softmax; staging looks at what really comes out.
        output="probabilities",
        source=f"{_HUB}/b{variant}/classification/1",
    )


def _embedder(variant: int) -> ModelSpec:
    return ModelSpec(
        name=f"efficientnet-b{variant}",
        task="embed",
        size=_SIZES[variant],
        width=_FEATURES[variant],
        output="features",
        source=f"{_HUB}/b{variant}/feature-vector/1",
    )


# The Open Model Zoo withdrew it in 2021: its users bring the IR files that they have.
_AUTO_AUG = ModelSpec(
    name="efficientnet-b7_auto_aug",
    task="classify",
    size=600,
    width=IMAGENET_CLASSES,
    output="logits",
    crop="central",
    value_range=(0.0, 255.0),
    channel_order="bgr",
)

MODELS: tuple[ModelSpec, ...] = (
    *(_classifier(variant) for variant in range(8)),
    _AUTO_AUG,
    *(_embedder(variant) for variant in range(8)),
)


def names(task: Task) -> list[str]:
    """Names of the registered models of a task."""
    return [spec.name for spec in MODELS if spec.task == task]


def find(name: str, task: Task) -> ModelSpec | None:
    """The spec registered under ``name`` for ``task``, or None."""
    return next((spec for spec in MODELS if spec.name == name and spec.task == task), None)


def get(name: str, task: Task) -> ModelSpec:
    """The spec registered under ``name`` for ``task``. Raises UsageError that lists the names there are."""
    spec = find(name, task)
    if spec is None:
        raise UsageError(f"no model {name!r} to {task} with; known are {', '.join(names(task))}")
    return spec


def find_source(source: str) -> ModelSpec | None:
    """The registered spec whose published source this is, a TF-Hub URL or a Kaggle handle, or None."""
    published = (spec for spec in MODELS if spec.source)
    return next((spec for spec in published if source.lower() in _handles(str(spec.source))), None)


def kaggle_handle(hub_url: str) -> str:
    """A TF-Hub URL of the registry -> the handle of the same model on Kaggle, where TF-Hub's models live now."""
    variant, kind, version = hub_url.split("/")[-3:]
    return f"tensorflow/efficientnet/tensorFlow2/{variant}-{kind}/{version}"


def _handles(hub_url: str) -> tuple[str, str]:
    """In lower case: Kaggle's own pages write ``tensorFlow2``, ``TensorFlow2`` and ``tensorflow2``."""
    return hub_url.lower(), kaggle_handle(hub_url).lower()
