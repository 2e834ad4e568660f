"""What makes the numbers of a table: a model, its preprocessing and precision, and what is written of its answers."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

from transforms.errors import UsageError
from transforms.inference.spec import EngineName, ModelSpec, Precision

_KINDS = {"classify": "predictions", "embed": "embeddings"}

# Part of every recipe: raised when decoding or fitting comes to give other pixels for the same bytes.
PIXELS_VERSION = 1


@dataclass(frozen=True, slots=True)
class Recipe:
    """One table that is asked for.

    bundle: where workers load the model. quantized: the hash of its int8 form, where that is what runs. top_k,
    probabilities: of a classifier. normalize: of an embedder.
    """

    spec: ModelSpec
    bundle: str
    content_hash: str
    source: str
    engine: EngineName = "tensorflow"
    precision: Precision = "f32"
    quantized: str | None = None
    top_k: int = 5
    probabilities: bool = False
    normalize: bool = False

    def __post_init__(self) -> None:
        if self.top_k < 1:
            raise UsageError(f"--top-k {self.top_k}: at least the best class is written; give 1 or more")

    @property
    def digest(self) -> str:
        """8 hex digits over everything that changes what a row holds; where the model lies changes nothing.

        ``top_k``, ``probabilities`` and ``normalize`` are in it, so that all files of a table have the same columns.
        """
        parts = {
            "content_hash": self.content_hash,
            "preprocessing": self.spec.preprocessing(),
            "pixels_version": PIXELS_VERSION,
            "output": self.spec.output,
            "precision": self.precision if self.quantized is None else [self.precision, self.quantized],
            "head": [self.top_k, self.probabilities] if self.spec.task == "classify" else [self.normalize],
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:8]

    @property
    def table(self) -> str:
        """The table's name and folder, e.g. ``predictions/model=efficientnet-b7-1a2b3c4d``."""
        return f"{_KINDS[self.spec.task]}/model={self.spec.name}-{self.digest}"

    def metadata(self) -> dict[str, str]:
        """What every file of the table says about it."""
        return {
            "model": self.spec.name,
            "source": self.source,
            "content_hash": self.content_hash,
            "recipe": self.digest,
            "preprocessing": self.spec.preprocessing(),
            "precision": self.precision,
            "engine": self.engine,
        }
