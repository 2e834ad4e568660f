"""All that is known of a model without its weights."""

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

Precision = Literal["f32", "bf16", "int8"]
EngineName = Literal["tensorflow", "openvino"]


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """What goes into a model and what comes out. Numbers such as 600 stand in specs and nowhere else.

    name: as the tables' folders carry it, e.g. ``efficientnet-b7``.
    task: ``classify`` gives a number a class, ``embed`` a vector.
    size: side of the square input, in pixels.
    crop: what of a picture is shown to the model, see ``transforms.imaging.fit``.
    value_range: what the pixel values 0 and 255 become.
    channel_order: of the input's channels. layout: of the input's axes.
    output: ``probabilities`` (rows >= 0 that sum to 1), ``logits`` (a softmax is still to be done), ``features``.
    width: numbers that come out for each image; 0 until a model of one's own was seen to run.
    source: where the weights are published, a URL; None for a user's own.
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

    def __post_init__(self) -> None:
        if not self.name or not all(c.isascii() and (c.isalnum() or c in "-_.") for c in self.name):
            raise UsageError(f"model name {self.name!r}: use letters, digits, '-', '_' and '.', as it names a folder")
        for field, allowed in _CHOICES.items():
            if getattr(self, field) not in allowed:
                raise UsageError(f"model {self.name}: {field} {getattr(self, field)!r} is none of {', '.join(allowed)}")
        if (self.task == "embed") != (self.output == "features"):
            raise UsageError(f"model {self.name}: task {self.task!r} cannot give {self.output!r}")
        if not 1 <= self.size <= 8192:
            raise UsageError(f"model {self.name}: input size {self.size} is not within 1..8192 pixels")
        if self.width < 0:
            raise UsageError(f"model {self.name}: output width {self.width} is negative")
        low, high = self.value_range
        if not (low < high and math.isfinite(low) and math.isfinite(high)):
            raise UsageError(f"model {self.name}: value range {low:g}..{high:g} is none; give the lower end first")

    def to_json(self) -> dict[str, Any]:
        """Plain values, as ``model.json`` holds them."""
        return dataclasses.asdict(self) | {"value_range": list(self.value_range)}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> ModelSpec:
        """The inverse of ``to_json``; refuses fields of a later version rather than forget them."""
        unknown = set(values) - {field.name for field in dataclasses.fields(cls)}
        if unknown:
            raise UsageError(f"model spec has fields {sorted(unknown)} unknown to this version; upgrade beamsight")
        return cls(**values | {"value_range": tuple(values["value_range"])})

    def preprocessing(self) -> str:
        """One line on how a picture becomes this model's input, for the tables' metadata."""
        low, high = self.value_range
        return f"{self.crop} {self.size}x{self.size} bicubic {self.channel_order} {low:g}..{high:g}"


_CHOICES: dict[str, tuple[str, ...]] = {
    "task": get_args(Task),
    "crop": get_args(Crop),
    "channel_order": get_args(ChannelOrder),
    "layout": get_args(Layout),
    "output": get_args(Output),
}
