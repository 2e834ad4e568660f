"""The public PTransforms as Beam YAML takes them. ``examples/yaml/provider.yaml`` names them.

Beam YAML numbers the fields of a tuple, so the results are dicts here, and their keys are the names of the outputs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import apache_beam as beam

from beamsight import images, reading, single_models
from transforms.errors import UsageError

_FAILURES = "failures"


class _NamedOutputs(beam.PTransform):
    """Applies a public transform, and gives its outputs their names.

    Args:
        error_handling: A mapping with the key ``output``, which is the name of the output of failures, as in other
            transforms of Beam YAML. With it, the name of ``ClassifyImages`` or ``EmbedImages`` alone stands for its
            rows, and Beam refuses a pipeline that does not read the failures. None for the name ``failures``.
        arguments: The arguments of the public transform.
    """

    _public: type[beam.PTransform]

    def __init__(self, *, error_handling: Mapping[str, str] | None = None, **arguments: Any) -> None:
        super().__init__()
        self._transform = self._public(**arguments)
        self._failures = _FAILURES if error_handling is None else _read_name(error_handling)

    def expand(self, elements: beam.PCollection) -> dict[str, beam.PCollection]:
        result = self._transform.expand(elements)._asdict()
        outputs = {name: rows for name, rows in result.items() if rows is not None}
        failures = outputs.pop(_FAILURES)
        if self._failures in outputs:
            raise UsageError(f"error_handling names the output {self._failures!r}, which has rows; pass another name")
        return {**outputs, self._failures: failures}


def _read_name(error_handling: Mapping[str, Any]) -> str:
    name = error_handling.get("output")
    if len(error_handling) != 1 or not isinstance(name, str):
        raise UsageError(f"error_handling is {error_handling}; pass only output, the name of the output of failures")
    return name


class ClassifyImages(_NamedOutputs):
    """Classifies the images that the column ``uri`` names. The outputs are ``rows`` and ``failures``."""

    _public = single_models.ClassifyImages


class EmbedImages(_NamedOutputs):
    """Makes a vector for each image that the column ``uri`` names. The outputs are ``rows`` and ``failures``."""

    _public = single_models.EmbedImages


class ProcessImages(_NamedOutputs):
    """Classifies and embeds images. The outputs are ``predictions``, ``embeddings`` and ``failures``."""

    _public = images.ProcessImages


class ListImages(reading.ListImages):
    """Lists the images of some sources. It has no input."""

    _yaml_requires_inputs = False
