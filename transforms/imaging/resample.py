"""Resize a part of an image as Pillow's bicubic filter does: the same pixels in 60 % of the time.

The passes across and down are in ``bicubic.wat``, which Wasmtime compiles at the first use, in a few milliseconds. They
add up the same integers as Pillow, but several at once. Weights and sums have the same values on all processors, and
the passes cannot read or write outside their own memory.
"""

from __future__ import annotations

import functools
import math
import threading
from importlib import resources
from typing import cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import wasmtime
from PIL import Image

from transforms.imaging import taps

_ROWS = 256  # of values between the passes, so that they stay in the cache of a core
_STRIP = 1 << 19  # bytes of the source that are copied at a time
_TALL = 100  # as in Image.resize
_SLACK = 64  # bytes after each part of the memory; the passes read and write up to 16 bytes too many
_PAGE = 1 << 16  # bytes; the unit in which the memory grows

Box = tuple[float, float, float, float]
Pixels = npt.NDArray[np.uint8]


def resize(image: Image.Image, box: Box, size: tuple[int, int]) -> Pixels:
    """Crop an RGB image to a box and resize it, as ``Image.crop`` and ``Image.resize`` with ``Resampling.BICUBIC`` do.

    Models were trained on images that were cropped first. So pixels outside the box have no influence, except those
    that its edges cut.

    Args:
        image: The image in mode RGB.
        box: Left, upper, right and lower edge in fractional pixels.
        size: Width and height of the result.

    Returns:
        uint8[height, width, 3], contiguous.
    """
    if _threads.passes is None:
        _threads.passes = _Passes(*_compile())
    left, upper, right, lower = box
    columns, lines = math.ceil(right) - math.floor(left), math.ceil(lower) - math.floor(upper)
    if lines > _TALL * columns and size[1] < lines:  # Pillow resizes such an image down first, and then across.
        turned = _threads.passes.resize(
            image.transpose(Image.Transpose.TRANSPOSE), (upper, left, lower, right), size[::-1]
        )
        return np.ascontiguousarray(turned.transpose(1, 0, 2))
    return _threads.passes.resize(image, box, size)


class _Passes:
    """The compiled passes with a memory of their own. A thread keeps them, and their few megabytes."""

    def __init__(self, engine: wasmtime.Engine, module: wasmtime.Module) -> None:
        self._store = wasmtime.Store(engine)
        exports = wasmtime.Instance(self._store, module, []).exports(self._store)
        self._memory = cast(wasmtime.Memory, exports["memory"])
        self._across = cast(wasmtime.Func, exports["across"])
        self._down = cast(wasmtime.Func, exports["down"])

    def resize(self, image: Image.Image, box: Box, size: tuple[int, int]) -> Pixels:
        (left, upper, right, lower), (width, height) = box, size
        x, y = math.floor(left), math.floor(upper)
        columns, lines = math.ceil(right) - x, math.ceil(lower) - y
        across = taps.taps_of(left - x, right - x, width, columns)
        down = taps.taps_of(upper - y, lower - y, height, lines)
        # The output is computed in blocks of rows, and the values between the passes for a block in strips of rows.
        rows = max(_ROWS, 2 * down.taps)
        block = min(height, max(1, int((rows - down.taps) * height / lines)))
        strip = max(2, min(rows, _STRIP // (4 * columns) // 2 * 2))
        places = self._reserve(
            *(across.starts.nbytes, across.weights.nbytes, 4 * block, down.weights.nbytes),
            *(4 * (columns * strip + across.taps), 4 * width * (rows + 2), 3 * width * block),
        )
        starts, weights, down_starts, down_weights, source, middle, output = places
        self._write(starts, 4 * across.starts)
        self._write(weights, across.weights)
        self._write(down_weights, down.weights)
        result = np.empty((height, width, 3), np.uint8)
        whole = _share(image)
        for top in range(0, height, block):
            firsts = down.starts[top : top + block]
            begin, end = int(firsts[0]), min(int(firsts[-1]) + down.taps, lines)
            for row in range(begin, end, strip):
                count = min(strip, end - row)
                part = (x, y + row, x + columns, y + row + count)
                self._write(source, _copy(image, part) if whole is None else whole[part[1] : part[3], x : part[2]])
                place = middle + 4 * width * (row - begin)
                self._across(self._store, source, 4 * columns, count, starts, weights, across.taps, width, place)
            self._write(down_starts, 4 * width * (firsts - begin))
            place = down_weights + 4 * down.taps * top
            self._down(self._store, middle, down_starts, place, down.taps, len(firsts), width, output)
            done = self._bytes[output : output + 3 * width * len(firsts)]
            result[top : top + block] = done.reshape(-1, width, 3)
        return result

    def _reserve(self, *lengths: int) -> list[int]:
        """Let the memory have parts of so many bytes, and return the position of each part."""
        places, end = [], 0
        for length in lengths:
            places.append(end)
            end += (length + _SLACK + 15) // 16 * 16
        missing = end - self._memory.data_len(self._store)
        if missing > 0:
            self._memory.grow(self._store, math.ceil(missing / _PAGE))
        self._bytes = np.ctypeslib.as_array(self._memory.get_buffer_ptr(self._store))
        return places

    def _write(self, place: int, values: npt.NDArray[np.generic]) -> None:
        part = self._bytes[place : place + values.nbytes]
        np.copyto(part.view(values.dtype).reshape(values.shape), values)


class _Threads(threading.local):
    passes: _Passes | None = None


_threads = _Threads()


@functools.lru_cache(maxsize=1)
def _compile() -> tuple[wasmtime.Engine, wasmtime.Module]:
    config = wasmtime.Config()
    config.parallel_compilation = False
    engine = wasmtime.Engine(config)
    text = resources.files(__package__).joinpath("bicubic.wat").read_text(encoding="utf-8")
    return engine, wasmtime.Module(engine, text)


def _share(image: Image.Image) -> npt.NDArray[np.uint32] | None:
    """Return the pixels of an image without a copy, uint32[height, width]. None if they are in several blocks."""
    try:
        values = pa.array(image).values
    except ValueError:  # larger than 16 MB
        return None
    return np.frombuffer(values.buffers()[1], np.uint32).reshape(image.height, image.width)


def _copy(image: Image.Image, part: tuple[int, int, int, int]) -> npt.NDArray[np.uint32]:
    """Return a copy of the pixels of a part of an image, uint32[height, width]."""
    left, upper, right, lower = part
    # It is not Image.crop, which compares the size with a global of Pillow.
    cropped = Image.new("RGB", (right - left, lower - upper), None)
    cropped.paste(image, (-left, -upper))
    return np.frombuffer(cropped.tobytes("raw", "RGBX"), np.uint32).reshape(lower - upper, right - left)
