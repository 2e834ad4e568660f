"""Load any local SavedModel as a function from images to outputs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from transforms.errors import ModelError
from transforms.inference.libraries import tensorflow
from transforms.inference.spec import ModelSpec

tf = tensorflow()


class SavedModel:
    """A loaded model. It maps a float32 tensor [N, size, size, 3], in the model's value range and order, to [N, width].

    Publishers do not guarantee the names of inputs and outputs, so they are read from the model. The function is the
    signature ``serving_default`` with one input, or the model itself. Of several outputs, the one with the width of
    the specification is used.
    """

    def __init__(self, folder: Path, spec: ModelSpec) -> None:
        self._folder = folder
        self._width = spec.width
        try:
            # The model is kept, because its signature has only weak references to the variables.
            self._model = tf.saved_model.load(str(folder))
        except Exception as error:  # the loader may raise any exception: IndexError for truncated variables
            raise ModelError(f"TensorFlow cannot load {folder} as a SavedModel: {line(error)}") from error
        self._signature = getattr(self._model, "signatures", {}).get("serving_default")
        if self._signature is None:
            if not callable(self._model):
                raise ModelError(
                    f"{folder} has no signature 'serving_default' and cannot be called; export it with one of them"
                )
            return
        inputs = self._signature.structured_input_signature[1]
        if len(inputs) != 1:
            raise ModelError(f"{folder}: 'serving_default' takes {sorted(inputs)}; it must take one batch of images")
        (self._input,) = inputs

    def __call__(self, values: Any) -> Any:
        """Run the model. Raises ModelError if no output fits, or more than one."""
        if self._signature is None:
            return self._one(self._model(values))
        return self._one(self._signature(**{self._input: values}))

    def _one(self, outputs: Any) -> Any:
        if isinstance(outputs, list | tuple):
            outputs = {f"[{index}]": value for index, value in enumerate(outputs)}
        if not isinstance(outputs, dict):
            return outputs
        fitting = [value for value in outputs.values() if value.shape.rank in (2, None)]
        if len(fitting) > 1:
            fitting = [value for value in fitting if value.shape[-1] == self._width]
        if len(fitting) != 1:
            shapes = ", ".join(f"{key} {value.shape}" for key, value in sorted(outputs.items()))
            raise ModelError(f"{self._folder}: outputs are {shapes}; exactly one must be [N, {self._width or 'width'}]")
        return fitting[0]


def line(error: Exception) -> str:
    """Return the reason of an error in one line. It comes after the tracebacks of a graph and before a [[node]]."""
    text = str(error).strip()
    if text.startswith("Graph execution error"):
        text = text.partition("\n\t [[")[0].rstrip().rpartition("\n")[2]
    return re.sub(r"{{.*?}} ", "", text.partition("\n")[0])[:300]
