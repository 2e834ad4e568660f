"""The specification of a model: everything except its weights."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

from transforms.errors import UsageError

Task = Literal["classify", "embed"]
Crop = Literal["square", "central", "squash", "pad"]
ChannelOrder = Literal["rgb", "bgr"]
Layout = Literal["nhwc", "nchw"]
Output = Literal["probabilities", "logits", "features"]
Resizer = Literal["simd", "pillow"]

Precision = Literal["f32", "bf16", "int8"]
EngineName = Literal["tensorflow", "openvino"]


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """The input and output of a model. Numbers such as 600 are in specifications only.

    Attributes:
        name: The name in the folders of the tables, such as ``efficientnet-b7``.
        task: ``classify`` gives one number per class, ``embed`` gives a vector.
        size: Side of the square input in pixels.
        width: Numbers in the output for an image. 0 for a user's own model that has not run yet.
        output: ``probabilities`` (rows >= 0 that sum to 1), ``logits`` (before the softmax) or ``features``.
        crop: The part of an image that the model gets, see ``transforms.imaging.fit``.
        value_range: The input values for the pixel values 0 and 255.
        channel_order: Order of the input's channels.
        layout: Order of the input's axes.
        source: URL where the weights are published. None for a user's own model.
        resizer: The code that resizes the images, see ``transforms.imaging.resizing``. It is no part of a bundle.
    """

    name: str
    task: Task
    size: int
    width: int
    output: Output
    crop: Crop = "square"
    value_range: tuple[float, float] = (0.0, 1.0)
    channel_order: ChannelOrder = "rgb"
    layout: Layout = "nhwc"
    source: str | None = None
    resizer: Resizer = "pillow"

    def __post_init__(self) -> None:
        if not self.name or not all(c.isascii() and (c.isalnum() or c in "-_.") for c in self.name):
            raise UsageError(
                f"model name {self.name!r}: use letters, digits, '-', '_' and '.', because it names a folder"
            )
        for field, allowed in _CHOICES.items():
            if getattr(self, field) not in allowed:
                raise UsageError(
                    f"model {self.name}: {field} {getattr(self, field)!r} is not one of {', '.join(allowed)}"
                )
        if (self.task == "embed") != (self.output == "features"):
            raise UsageError(f"model {self.name}: task {self.task!r} cannot give {self.output!r}")
        if not 1 <= self.size <= 8192:
            raise UsageError(f"model {self.name}: input size {self.size} is not within 1..8192 pixels")
        if self.width < 0:
            raise UsageError(f"model {self.name}: output width {self.width} is negative")
        low, high = self.value_range
        if not (low < high and math.isfinite(low) and math.isfinite(high)):
            raise UsageError(f"model {self.name}: value range {low:g}..{high:g} is invalid; pass the lower end first")

    def to_json(self) -> dict[str, Any]:
        """Return the values in ``model.json``."""
        values = dataclasses.asdict(self) | {"value_range": list(self.value_range)}
        del values["resizer"]
        return values

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> ModelSpec:
        """Create a specification from the values in ``model.json``. Raises UsageError for unknown fields."""
        unknown = set(values) - ({field.name for field in dataclasses.fields(cls)} - {"resizer"})
        if unknown:
            raise UsageError(f"the model's specification has unknown fields {sorted(unknown)}; upgrade beamsight")
        return cls(**values | {"value_range": tuple(values["value_range"])})

    def preprocessing(self) -> str:
        """Return one line about the preprocessing, for the metadata of the tables."""
        low, high = self.value_range
        bicubic = "bicubic" if self.resizer == "pillow" else f"bicubic-{self.resizer}"
        return f"{self.crop} {self.size}x{self.size} {bicubic} {self.channel_order} {low:g}..{high:g}"


_CHOICES: dict[str, tuple[str, ...]] = {
    "task": get_args(Task),
    "crop": get_args(Crop),
    "channel_order": get_args(ChannelOrder),
    "layout": get_args(Layout),
    "output": get_args(Output),
}
