"""A recipe: everything that determines the numbers in a table."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field

from transforms.errors import UsageError
from transforms.inference.spec import EngineName, ModelSpec, Precision

_KINDS = {"classify": "predictions", "embed": "embeddings"}

# Part of every recipe. Increase it if decoding or fitting gives other pixels for the same bytes.
PIXELS_VERSION = 1


@dataclass(frozen=True, slots=True)
class Recipe:
    """A table to write, and how its rows are computed.

    Attributes:
        spec: The specification of the model.
        bundle: The bundle that workers load.
        content_hash: The content hash of the bundle.
        source: The origin of the model.
        engine: The engine.
        precision: Numeric precision of the model.
        quantized: The hash of the int8 form. None for other precisions.
        top_k: Number of best classes in a row of a classifier.
        probabilities: Write all probabilities of a classifier.
        normalize: Scale the vectors of an embedder to unit length.
        digest: 8 hex digits over everything that changes a row. The path of the bundle makes no difference. ``top_k``,
            ``probabilities`` and ``normalize`` are included, so that all files of a table have equal columns.
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
    digest: str = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.top_k < 1:
            raise UsageError(f"--top-k {self.top_k} is too small; pass 1 or more")
        object.__setattr__(self, "digest", self._digest())  # once, because each image looks up its tables many times

    def _digest(self) -> str:
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
    def folder(self) -> str:
        """Return the name of the model and the digest, such as ``efficientnet-b7-1a2b3c4d``."""
        return f"{self.spec.name}-{self.digest}"

    @property
    def table(self) -> str:
        """Return the name and folder of the table, such as ``predictions/model=efficientnet-b7-1a2b3c4d``."""
        return f"{_KINDS[self.spec.task]}/model={self.folder}"

    def metadata(self) -> dict[str, str]:
        """Return the metadata in the footer of each file."""
        return {
            "model": self.spec.name,
            "source": self.source,
            "content_hash": self.content_hash,
            "recipe": self.digest,
            "preprocessing": self.spec.preprocessing(),
            "precision": self.precision,
            "engine": self.engine,
        }
