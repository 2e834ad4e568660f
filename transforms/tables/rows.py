"""Build the rows of a table from the outputs of a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import pyarrow as pa

from transforms import vector_math
from transforms.imaging.prepare import Prepared
from transforms.inference import heads
from transforms.inference.engine import Floats
from transforms.inference.labels import Label
from transforms.inference.recipe import Recipe
from transforms.records import ClassScore
from transforms.tables import schemas, typed_rows


class TableRows:
    """Collects the rows of a table in any order and returns them sorted by URI."""

    def __init__(self, recipe: Recipe, labels: Sequence[Label]) -> None:
        self.recipe = recipe
        self._labels = labels
        self._images: list[Prepared] = []
        self._outputs: list[Floats] = []

    def add(self, image: Prepared, outputs: Floats) -> None:
        """Add an image and its output, float32[width]."""
        self._images.append(image)
        self._outputs.append(outputs)

    def __len__(self) -> int:
        return len(self._images)

    def to_arrow(self, run_id: str) -> pa.Table:
        """Return the rows of a run sorted by URI, so that a repeated unit gives the same file."""
        spec = self.recipe.spec
        order = sorted(range(len(self._images)), key=lambda index: self._images[index].work.ref.uri)
        schema = (
            schemas.embeddings(spec.width)
            if spec.task == "embed"
            else schemas.predictions(spec.width, probabilities=self.recipe.probabilities)
        )
        return schemas.to_arrow(self._columns(order, run_id), schema)

    def to_tuples(self, run_id: str) -> list[Any]:
        """Return the rows of a run in the order in which they were added, see ``typed_rows``."""
        kind = typed_rows.kind_of(self.recipe)
        columns = self._columns(range(len(self._images)), run_id)
        return [kind._make(row) for row in zip(*(_to_list(columns[name]) for name in kind._fields), strict=True)]

    def _columns(self, order: Sequence[int], run_id: str) -> dict[str, schemas.Column]:
        spec = self.recipe.spec
        images = [self._images[index] for index in order]
        outputs = np.empty((len(order), spec.width), np.float32)
        for row, index in enumerate(order):
            outputs[row] = self._outputs[index]
        columns: dict[str, schemas.Column] = {
            "uri": [image.work.ref.uri for image in images],
            "version": [image.version for image in images],
            "sha256": [image.sha256 for image in images],
            "recipe": [self.recipe.folder] * len(images),
            "run_id": [run_id] * len(images),
        }
        if spec.task == "embed":
            columns["embedding"] = vector_math.unit_length(outputs) if self.recipe.normalize else outputs
            return columns
        columns["width"] = [image.width for image in images]
        columns["height"] = [image.height for image in images]
        return columns | self._classes(heads.probabilities(outputs, spec.output))

    def _classes(self, scores: Floats) -> dict[str, schemas.Column]:
        """Return the columns about classes for probabilities float32[N, classes]."""
        best = heads.top_k(scores, self.recipe.top_k)
        top_k = [
            [self._class(index, score) for index, score in zip(indices, row[indices], strict=True)]
            for indices, row in zip(best, scores, strict=True)
        ]
        columns: dict[str, schemas.Column] = {
            name: [top[0][name] for top in top_k] for name in ("class_id", "wnid", "label", "score")
        }
        return columns | {"top_k": top_k, "probabilities": scores}

    def _class(self, index: int, score: float) -> dict[str, Any]:
        label = self._labels[index]
        return {"class_id": int(index), "wnid": label.wnid, "label": label.name, "score": float(score)}


def _to_list(column: Any) -> list[Any]:
    """Return the values of a column as Beam encodes them: float32 as float, and structs as tuples."""
    if isinstance(column, np.ndarray):
        return cast(list[Any], column.tolist())
    if column and isinstance(column[0], list):
        return [[ClassScore(**each) for each in top] for top in column]
    return cast(list[Any], column)
