"""The engines there are: a bundle on this disk -> what runs it."""

from __future__ import annotations

from pathlib import Path

from transforms.errors import UsageError
from transforms.inference import bundle
from transforms.inference.engine import BATCH, Engine
from transforms.inference.recipe import EngineName
from transforms.inference.spec import ModelSpec


def load(name: EngineName, folder: Path, spec: ModelSpec, batch: int = BATCH) -> Engine:
    """A bundle's folder on this disk -> its engine. Heavy libraries are imported here and not before."""
    if name == "tensorflow":
        from transforms.inference.tensorflow_engine import TensorFlowEngine

        return TensorFlowEngine(folder / bundle.SAVED_MODEL, spec, batch=batch)
    raise UsageError(f"engine {name!r} is none of: tensorflow")
