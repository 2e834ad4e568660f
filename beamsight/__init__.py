"""beamsight classifies and embeds images with EfficientNet on Apache Beam, and writes the results to Parquet.

Most people use the command ``beamsight``. In Python:

    >>> import beamsight
    >>> model = beamsight.load("models/b7")         # doctest: +SKIP
    >>> scores = model.predict(["a.jpg", "b.jpg"])  # doctest: +SKIP
    >>> scores.shape                                # doctest: +SKIP
    (2, 1000)

Importing this package imports nothing else: each name is loaded when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from beamsight.embeddable import to_embeddable_item
    from beamsight.handler import ImageModelHandler
    from beamsight.inputs import decode
    from beamsight.predictor import ClassScore, Predictor, load

    __version__: str

__all__ = [
    "ClassScore",
    "ImageModelHandler",
    "Predictor",
    "__version__",
    "decode",
    "load",
    "to_embeddable_item",
]

_MODULES = {
    "ClassScore": "predictor",
    "ImageModelHandler": "handler",
    "Predictor": "predictor",
    "decode": "inputs",
    "load": "predictor",
    "to_embeddable_item": "embeddable",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib import metadata

        return metadata.version("beamsight")
    if name in _MODULES:
        from importlib import import_module

        return getattr(import_module(f"beamsight.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
