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
    from beamsight.predictor import Predictor, decode, load

    __version__: str

__all__ = ["Predictor", "__version__", "decode", "load"]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib import metadata

        return metadata.version("beamsight")
    if name in __all__:
        from beamsight import predictor

        return getattr(predictor, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
