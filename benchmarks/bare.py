"""Run the bare engine on pixels in memory, which is the upper limit for the speed of a pipeline with this engine.

The command is a contender of ``benchmarks.pipeline``. It runs the first model over all images, then the second, and
prints its seconds as JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from transforms.imaging import drawn
from transforms.inference import bundle

PRECISIONS = ("f32", "bf16", "int8")
NOT_AVAILABLE = 2  # exit code

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Infer = Callable[[Pixels], Floats]
"""Maps uint8[N, size, size, 3] to float32[N, width]."""


class NotAvailable(Exception):
    """The bundle or this machine lacks the requested form."""


def load(folder: Path, engine: str, precision: str) -> Infer:
    """Return a function that runs the model of a bundle. Raise NotAvailable if it cannot run here."""
    return _openvino(folder, precision) if engine == "openvino" else _tensorflow(folder, precision)


def _openvino(folder: Path, precision: str) -> Infer:
    """Use OpenVINO's settings for the highest CPU throughput: its own number of streams, fed by its queue."""
    form = folder / "openvino" / ("int8.xml" if precision == "int8" else "f32.xml")
    if not form.exists():
        raise NotAvailable(f"the bundle {folder} does not contain openvino/{form.name}")
    try:
        import openvino
    except ModuleNotFoundError as error:
        raise NotAvailable("openvino is not installed; run pip install openvino") from error
    settings = {"PERFORMANCE_HINT": "THROUGHPUT", "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32"}
    core = openvino.Core()
    if precision == "bf16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise NotAvailable("this CPU does not support bf16")
    compiled = core.compile_model(form, "CPU", settings)
    queue = openvino.AsyncInferQueue(compiled, compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS"))

    def infer(pixels: Pixels) -> Floats:
        outputs: list[Floats] = [np.empty(0, np.float32)] * len(pixels)

        def store_output(request: openvino.InferRequest, index: int) -> None:
            outputs[index] = request.get_output_tensor().data[0].copy()

        queue.set_callback(store_output)
        for index in range(len(pixels)):
            queue.start_async({0: pixels[index : index + 1]}, index)
        queue.wait_all()
        return np.stack(outputs)

    return infer


def _tensorflow(folder: Path, precision: str) -> Infer:
    if precision != "f32":
        raise NotAvailable(f"the bare TensorFlow engine runs at f32 only, not at {precision}")
    from transforms.inference import engines

    return engines.load("tensorflow", folder, bundle.read(str(folder)).spec).infer


def main() -> int:
    """Return exit code 0, or NOT_AVAILABLE with the reason on stderr."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--classifier", type=Path, required=True)
    parser.add_argument("--embedder", type=Path, required=True)
    parser.add_argument("--engine", choices=("openvino", "tensorflow"), default="openvino")
    parser.add_argument("--precision", choices=PRECISIONS, default="f32")
    parser.add_argument("--pictures", type=int, default=48)
    arguments = parser.parse_args()
    seconds = 0.0
    for folder in (arguments.classifier, arguments.embedder):
        size = bundle.read(str(folder.absolute())).spec.size
        pixels = np.stack([drawn.draw(seed, size, size) for seed in range(arguments.pictures)])
        try:
            infer = load(folder.absolute(), arguments.engine, arguments.precision)
        except NotAvailable as error:
            print(error, file=sys.stderr)
            return NOT_AVAILABLE
        infer(pixels[:4])  # The first calls allocate memory.
        since = time.perf_counter()
        infer(pixels)
        seconds += time.perf_counter() - since
        del infer
    print(json.dumps({"seconds": seconds}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
