"""Measure where the time of a model goes: the share of each kind of layer, on one core, at each precision.

OpenVINO counts the time of each layer while it runs drawn images, with the model compiled for one thread. For
convolutions, the speed is printed too, in billions of multiplications and additions a second (a multiplication and its
addition are two), beside the speed of OpenVINO's own product of two large matrices at the same precision.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import bare, common, material
from benchmarks.common import Figures
from transforms.imaging import drawn
from transforms.inference import bundle
from transforms.inference.libraries import core, openvino

SIDE = 2048  # of the matrices
SMALLEST = 0.005  # share of a kind of layer that is printed


def compile_counted(model: Any, precision: str) -> Any:
    """Compile a model for one thread, with counters."""
    settings = {
        "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
        "INFERENCE_NUM_THREADS": 1,
        "NUM_STREAMS": 1,
        "PERF_COUNT": True,
    }
    return core().compile_model(model, "CPU", settings)


def kinds(model: Any) -> dict[str, tuple[str, float]]:
    """Return the kind and the number of operations of each convolution by its name."""
    found: dict[str, tuple[str, float]] = {}
    for layer in model.get_ops():
        if layer.get_type_name() not in ("Convolution", "GroupConvolution"):
            continue
        weights, output = layer.input(1).get_partial_shape(), layer.output(0).get_partial_shape()
        *_, inputs, height, width = (axis.get_length() for axis in weights)
        # The channels of an output, times its rows and columns; the number of images is 1.
        values = np.prod([axis.get_length() for axis in list(output)[1:]])
        if layer.get_type_name() == "GroupConvolution":
            kind = f"depthwise {height}x{width}, stride {layer.get_attributes()['strides'][0]}"
        elif (height, width) == (1, 1):
            kind = "1x1 of one pixel" if output[2].get_length() == 1 else "1x1"
        else:
            kind = f"{height}x{width}"
        found[layer.get_friendly_name()] = kind, 2.0 * values * inputs * height * width
    return found


def measure(figures: Figures, folder: Path, precision: str, repetitions: int) -> None:
    """Add the figures of one model at one precision."""
    spec = bundle.read(str(folder)).spec
    name = f"{spec.name.removesuffix('-standin').removeprefix('efficientnet-')} {precision}"
    path = folder / "openvino" / ("int8.xml" if precision == "int8" else "f32.xml")
    if not path.exists():
        figures.not_available(name, f"the bundle does not contain {path.name}")
        return
    model = core().read_model(path)
    convolutions = kinds(model)
    request = compile_counted(model, precision).create_infer_request()
    times: Counter[str] = Counter()  # seconds
    operations: dict[str, float] = defaultdict(float)
    for seed in range(repetitions + 1):
        request.infer({0: drawn.draw(seed, spec.size, spec.size)[np.newaxis]})
        for layer in request.profiling_info if seed else ():  # the first call allocates memory
            kind, work = convolutions.get(layer.node_name, (layer.node_type, 0.0))
            times[kind] += layer.real_time.total_seconds()
            operations[kind] += work
    whole = sum(times.values())
    figures.add(name, "time", 1000 * whole / repetitions, "ms")
    for kind, seconds in times.most_common():
        if seconds < SMALLEST * whole:
            break
        figures.add(f"{name}: {kind}", "share", 100 * seconds / whole, "%")
        if operations[kind]:
            figures.add(f"{name}: {kind}", "speed", operations[kind] / seconds / 1e9, "G/s")


def measure_product(figures: Figures, precision: str, repetitions: int) -> None:
    """Add the speed of OpenVINO's own product of two matrices of ``SIDE`` x ``SIDE``."""
    ops = openvino().opset13
    left = ops.parameter([SIDE, SIDE], np.float32)
    right = ops.constant(np.random.default_rng(0).standard_normal((SIDE, SIDE), np.float32))
    product = openvino().Model([ops.matmul(left, right, False, False)], [left])
    request = compile_counted(product, precision).create_infer_request()
    seconds = []
    for _ in range(repetitions + 1):
        request.infer({0: np.ones((SIDE, SIDE), np.float32)})
        seconds.append(sum(layer.real_time.total_seconds() for layer in request.profiling_info))
    figures.add(f"{precision}: product of matrices", "speed", 2 * SIDE**3 / min(seconds) / 1e9, "G/s")


def main() -> None:
    """Measure both models at each precision that this machine and the bundles have."""
    parser = common.parser(__doc__)
    material.add_bundles(parser)
    parser.add_argument(
        "--repetitions", type=int, default=5, metavar="N", help="number of images (default: %(default)s)"
    )
    arguments = parser.parse_args()
    folders = material.bundles(arguments)
    figures = Figures(arguments)
    flags = common.machine()["flags"]
    for precision in bare.PRECISIONS:
        if precision == "bf16" and not {"avx512_bf16", "amx_bf16"} & set(flags):
            figures.not_available(precision, "this CPU does not support bf16")
            continue
        if precision != "int8":
            measure_product(figures, precision, arguments.repetitions)
        for folder in folders:
            measure(figures, folder, precision, arguments.repetitions)
    figures.write(repetitions=arguments.repetitions)


if __name__ == "__main__":
    main()
