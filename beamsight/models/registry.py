"""The registered models: specs that beamsight finds by name.

Sizes, widths and handles are from the publisher's pages, https://tfhub.dev/google/collections/efficientnet/1, and from
the Open Model Zoo's ``models/public/efficientnet-b7_auto_aug/README.md``.
"""

from __future__ import annotations

from pathlib import Path

from beamsight import text
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
        # The module's page says logits, but the export ends in a softmax. Staging looks at the real outputs.
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


# The Open Model Zoo removed this model in 2021, so users bring their own IR files.
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


def names(task: Task | None = None) -> list[str]:
    """Return the names of the registered models, or of those of one task."""
    return list(dict.fromkeys(spec.name for spec in MODELS if task in (None, spec.task)))


def is_name(name: str) -> bool:
    """Return whether a model is registered under this name, for any task."""
    return any(spec.name == name for spec in MODELS)


def find(name: str, task: Task) -> ModelSpec | None:
    """Return the spec registered under a name for a task, or None."""
    return next((spec for spec in MODELS if spec.name == name and spec.task == task), None)


def get(name: str, task: Task | None = None) -> ModelSpec:
    """Return the spec registered under a name. ``task`` may be None where the name belongs to one model only.

    Raises:
        UsageError: No such model is registered, or the name belongs to several models.
    """
    specs = [spec for spec in MODELS if spec.name == name and task in (None, spec.task)]
    if len(specs) == 1:
        return specs[0]
    if specs:
        raise UsageError(f"{name} is registered for {' and '.join(spec.task for spec in specs)}: pass --task")
    for_task = f" for task {task}" if task else ""
    others = names(task)
    raise UsageError(f"{name!r} is not a registered model{for_task} ({', '.join(others)}){text.nearest(name, others)}")


def require_path(model: str) -> None:
    """Raise UsageError for a text that is neither a path nor a URI, where a registered name was also possible."""
    if "/" not in model and not Path(model).exists():
        others = names()
        raise UsageError(
            f"{model!r} is neither a file or folder here nor a registered model ({', '.join(others)})"
            f"{text.nearest(model, others)}"
        )


def find_source(source: str) -> ModelSpec | None:
    """Return the registered spec with this published source, a TF-Hub URL or a Kaggle handle, or None."""
    published = (spec for spec in MODELS if spec.source)
    return next((spec for spec in published if source.lower() in _handles(str(spec.source))), None)


def kaggle_handle(hub_url: str) -> str:
    """Return the Kaggle handle of a registered model's TF-Hub URL. TF-Hub's models are on Kaggle now."""
    variant, kind, version = hub_url.split("/")[-3:]
    return f"tensorflow/efficientnet/tensorFlow2/{variant}-{kind}/{version}"


def _handles(hub_url: str) -> tuple[str, str]:
    """Return both handles in lower case. Kaggle's pages write ``tensorFlow2``, ``TensorFlow2`` and ``tensorflow2``."""
    return hub_url.lower(), kaggle_handle(hub_url).lower()
