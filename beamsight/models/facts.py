"""Size, cost, published accuracy and speed of the registered models. Imports nothing heavy.

``beamsight.models.cost`` counted parameters and operations, at each model's own input size; those of B6 and B7 are the
published ones. A multiply-add is two operations. The EfficientNet paper, arXiv:1905.11946, table 2, gives the same
numbers rounded, and half the operations, because it counts a multiply-add as one.

Accuracy is the ImageNet top-1 accuracy of the checkpoints trained with AutoAugment, from the table at
https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet (2020). The accuracy of
``efficientnet-b7_auto_aug`` is from the Open Model Zoo's ``models/public/efficientnet-b7_auto_aug/README.md``.

Speeds are of OpenVINO on one core of a CPU with AVX-512 BF16. B6 and B7 were measured on two cores, and half of that is
given here. All other speeds are estimates from ``GFLOPS``.
"""

from __future__ import annotations

from dataclasses import dataclass

from beamsight.models import registry
from transforms.inference.spec import EngineName, ModelSpec, Precision

# 10^9 operations per second on one core, within the whole pipeline.
GFLOPS: dict[tuple[EngineName, Precision], float] = {
    ("openvino", "f32"): 150,
    ("openvino", "bf16"): 290,
    ("openvino", "int8"): 380,
    ("tensorflow", "f32"): 120,
    ("tensorflow", "bf16"): 210,
}

_FLOAT32_BYTES = 4


@dataclass(frozen=True, slots=True)
class _Network:
    """A network with its head of 1000 classes.

    parameters: in millions. gflop: 10^9 operations for one image. top1: accuracy of the classifier, in percent.
    """

    parameters: float
    gflop: float
    top1: float


_B7 = _Network(66.193, 77.618, 84.3)
_NETWORKS = {
    "efficientnet-b0": _Network(5.268, 0.80, 77.1),
    "efficientnet-b1": _Network(7.763, 1.42, 79.1),
    "efficientnet-b2": _Network(9.076, 2.05, 80.1),
    "efficientnet-b3": _Network(12.190, 3.76, 81.6),
    "efficientnet-b4": _Network(19.279, 9.00, 82.9),
    "efficientnet-b5": _Network(30.303, 20.96, 83.6),
    "efficientnet-b6": _Network(43.0, 38.8, 84.0),
    "efficientnet-b7": _B7,
    "efficientnet-b7_auto_aug": _Network(_B7.parameters, _B7.gflop, 84.68),
}

# Images per second of one core at f32, bf16 and int8. B6 was measured as an embedder and B7 as a classifier. The head
# is less than 0.02 % of the operations.
_MEASURED: dict[str, dict[Precision, float]] = {
    "efficientnet-b6": {"f32": 3.95, "bf16": 7.4, "int8": 9.45},
    "efficientnet-b7": {"f32": 2.0, "bf16": 3.95, "int8": 5.15},
}


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a registered model before it is downloaded.

    Attributes:
        parameters: Number of parameters, in millions.
        gflop: 10^9 operations for one image.
        download_mb: Size of the download in MB, estimated as float32 parameters; None for a model that has no download.
        top1: Published ImageNet top-1 accuracy in percent; None for an embedder.
        images_per_second: Images per second on one CPU core with OpenVINO, by precision.
        measured: Whether ``images_per_second`` was measured. Otherwise it is estimated from the operations.
    """

    parameters: float
    gflop: float
    download_mb: float | None
    top1: float | None
    images_per_second: dict[Precision, float]
    measured: bool


def of(spec: ModelSpec) -> Facts:
    """Return the facts of a registered model."""
    network = _NETWORKS[spec.name]
    parameters, top1 = network.parameters, network.top1 if spec.task == "classify" else None
    if spec.task == "embed":
        parameters -= (spec.width + 1) * registry.IMAGENET_CLASSES / 1e6  # without the head: its weights and biases
    measured = _MEASURED.get(spec.name)
    estimated = {
        precision: gflops / network.gflop for (engine, precision), gflops in GFLOPS.items() if engine == "openvino"
    }
    return Facts(
        parameters=parameters,
        gflop=network.gflop,
        download_mb=parameters * _FLOAT32_BYTES if spec.source else None,
        top1=top1,
        images_per_second=measured or estimated,
        measured=measured is not None,
    )


def gflop(name: str) -> float | None:
    """Return the 10^9 operations for one image of a registered model or its stand-in, or None for another name."""
    network = _NETWORKS.get(name.removesuffix("-standin"))
    return network.gflop if network else None
