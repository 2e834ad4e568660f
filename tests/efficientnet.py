"""Counts of EfficientNets, worked out by hand from the tables of the paper, arXiv:1905.11946, without any library."""

from __future__ import annotations

import math
from dataclasses import dataclass

# Width and depth of B0 to B7 relative to B0, and the side of their images.
VARIANTS = (
    (1.0, 1.0, 224),
    (1.0, 1.1, 240),
    (1.1, 1.2, 260),
    (1.2, 1.4, 300),
    (1.4, 1.8, 380),
    (1.6, 2.2, 456),
    (1.8, 2.6, 528),
    (2.0, 3.1, 600),
)
# By stage of B0: side of the kernels, blocks, channels, expansion inside a block, stride of the first block.
_STAGES = (
    (3, 1, 16, 1, 1),
    (3, 2, 24, 6, 2),
    (5, 2, 40, 6, 2),
    (3, 3, 80, 6, 2),
    (5, 3, 112, 6, 1),
    (5, 4, 192, 6, 2),
    (3, 1, 320, 6, 1),
)
_CLASSES = 1000


@dataclass
class Counts:
    """The parameters, the scales of batch norms, and the operations for one image, as ``beamsight.models.cost`` counts.

    A multiply-add is two operations.
    """

    parameters: int = 0
    scales: int = 0
    flops: int = 0

    def convolve(self, kernel: int, inputs: int, outputs: int, area: int) -> None:
        """Add a convolution with its biases, or with the offsets of its batch norm."""
        self.parameters += kernel * kernel * inputs * outputs + outputs
        self.flops += 2 * kernel * kernel * inputs * outputs * area

    def normalize(self, channels: int, area: int, *, activated: bool = True) -> None:
        """Add a batch norm, of which the offsets are counted already, and a swish: a sigmoid and a product.

        The factor and the summand of each channel follow from its mean and deviation, with one product each.
        """
        self.scales += channels
        self.flops += 2 * channels + (2 + 2 * activated) * channels * area


def count(variant: int, size: int | None = None) -> Counts:
    """Count the classifier of a variant for images of its own size, or of another one."""
    width, depth, side = VARIANTS[variant]
    side = size or side
    counts = Counts(flops=2 * 3 * side * side)  # the input is scaled and shifted
    side = math.ceil(side / 2)
    channels = _round(32 * width)
    counts.convolve(3, 3, channels, side * side)
    counts.normalize(channels, side * side)
    for kernel, blocks, outputs, expansion, stride in _STAGES:
        for block in range(math.ceil(blocks * depth)):
            first = block == 0
            side, outer = math.ceil(side / stride) if first else side, side
            _count_block(counts, kernel, channels, _round(outputs * width), expansion, outer, side, residual=not first)
            channels = _round(outputs * width)
    top = _round(1280 * width)
    counts.convolve(1, channels, top, side * side)
    counts.normalize(top, side * side)
    counts.convolve(1, top, _CLASSES, 1)
    counts.flops += _CLASSES  # biases
    return counts


def _count_block(
    counts: Counts, kernel: int, inputs: int, outputs: int, expansion: int, outer: int, side: int, *, residual: bool
) -> None:
    """Add a mobile inverted bottleneck with squeeze and excitation, which has images of ``outer`` before its stride."""
    inside, squeezed = inputs * expansion, max(1, inputs // 4)
    if expansion > 1:
        counts.convolve(1, inputs, inside, outer * outer)
        counts.normalize(inside, outer * outer)
    counts.convolve(kernel, 1, inside, side * side)
    counts.normalize(inside, side * side)
    counts.convolve(1, inside, squeezed, 1)
    counts.convolve(1, squeezed, inside, 1)
    counts.flops += 3 * squeezed + 2 * inside  # biases, a swish and a sigmoid
    counts.flops += inside * side * side  # the product with the gates
    counts.convolve(1, inside, outputs, side * side)
    counts.normalize(outputs, side * side, activated=False)
    if residual:
        counts.flops += outputs * side * side


def _round(channels: float) -> int:
    """Round to a multiple of 8, but down by at most 10 %."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded
