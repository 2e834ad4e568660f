"""Machine types and GPUs: their sizes, their prices and their estimated throughput.

Speeds: B6 and B7 were measured with OpenVINO on 2 cores with AVX-512 BF16, which the vCPUs of c3 and c4 have too. They
are scaled by vCPUs and by operations. All other speeds are estimates and not measured. Options of the command replace
both.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from beamsight.models import facts
from runners.dataflow import prices
from runners.dataflow.prices import Rates, Usage
from transforms.inference.spec import EngineName, Precision

# Dataflow charges the same for vCPUs and memory of all families, so the newest costs no more. c3 supports the common
# SSD disks, and its Sapphire Rapids CPUs have AVX-512 BF16 and AMX, which make bf16 and int8 fast.
CPU_TYPE = "c3-standard-8"
CPU_TYPES = (
    CPU_TYPE,
    "c4-standard-8",
)  # the same instructions, number of vCPUs and price, from another stock of machines
CPU_DISK_GB = 50  # container image, two models of half a gigabyte, logs; Dataflow shuffles elsewhere
GPU_DISK_GB = 100  # Container images with CUDA are large.
MAX_WORKERS = 10

_SSD = "compute.googleapis.com/projects//zones//diskTypes/pd-ssd"
_HYPERDISK = "compute.googleapis.com/projects//zones//diskTypes/hyperdisk-balanced"


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU and the machine type with one of it.

    gflops: Estimated 10^9 operations per second at f32.
    batch: Images per batch.
    provisioning: How Dataflow obtains the machine, if not in the usual way.
    """

    machine_type: str
    gflops: float
    batch: int
    provisioning: str | None = None


# Derived from a V100 at fp16 (EfficientNetV2, arXiv:2104.00298, table 7: B7 94, B6 165 images/s): scaled by the ratio
# of memory bandwidths, and halved for f32. The types are those of https://cloud.google.com/dataflow/docs/gpu/gpu-support
# of which a machine can have a single one. Google offers a machine with a single H100 only with flex-start.
GPUS = {
    "nvidia-l4": Gpu("g2-standard-8", 1_150, 32),
    "nvidia-tesla-t4": Gpu("n1-standard-8", 1_250, 32),
    "nvidia-tesla-a100": Gpu("a2-highgpu-1g", 6_000, 64),
    "nvidia-a100-80gb": Gpu("a2-ultragpu-1g", 7_800, 64),
    "nvidia-h100-80gb": Gpu("a3-highgpu-1g", 12_800, 64, "FLEX_START"),
    "nvidia-rtx-pro-6000": Gpu("g4-standard-48", 6_100, 64),
}


@dataclass(frozen=True, slots=True)
class _Family:
    """A family of machine types.

    memory_gb: Memory per vCPU.
    speed: Speed at f32 relative to the measured machine.
    bf16: Whether its CPUs compute in bf16.
    disk_type: None for the standard disk, which is Dataflow's default.
    """

    memory_gb: float
    speed: float
    bf16: bool
    disk_type: str | None


_FAMILIES = {
    "c3-standard": _Family(4, 1.0, True, _SSD),
    "c3-highcpu": _Family(2, 1.0, True, _SSD),
    "c3-highmem": _Family(8, 1.0, True, _SSD),
    "c4-standard": _Family(3.75, 1.0, True, _HYPERDISK),
    "c4-highcpu": _Family(2, 1.0, True, _HYPERDISK),
    "c4-highmem": _Family(7.75, 1.0, True, _HYPERDISK),
    "n2-standard": _Family(4, 0.8, False, None),
    "n2-highcpu": _Family(1, 0.8, False, None),
    "e2-standard": _Family(4, 0.5, False, None),
    "n1-standard": _Family(3.75, 0.5, False, None),
    "g2-standard": _Family(4, 0.8, False, _SSD),
}
_FIXED: dict[str, tuple[int, float, str | None]] = {  # vCPUs, GB of memory, disk type as in _Family
    "a2-highgpu-1g": (12, 85.0, None),
    "a2-ultragpu-1g": (12, 170.0, _SSD),
    "a3-highgpu-1g": (26, 234.0, _SSD),
    "g4-standard-48": (48, 180.0, _HYPERDISK),
}

_DECODE_SECONDS = 0.03  # of one vCPU, an image of 12 megapixels: fetch, decode, fit


@dataclass(frozen=True, slots=True)
class Machine:
    """A worker machine. vcpus, memory_gb: None for an unknown machine type."""

    machine_type: str
    gpu: str | None
    disk_gb: int
    vcpus: int | None
    memory_gb: float | None

    @classmethod
    def of(cls, machine_type: str, gpu: str | None, disk_gb: int) -> Machine:
        """Look up a machine type."""
        vcpus, memory, _ = _FIXED.get(machine_type, (None, None, None))
        if (family := _family(machine_type)) is not None:
            vcpus = int(machine_type.rpartition("-")[2])
            memory = vcpus * family.memory_gb
        return cls(machine_type, gpu, disk_gb, vcpus, memory)

    def price_per_hour(self, rates: Rates = prices.BATCH) -> float | None:
        """Return USD per hour, or None for an unknown machine type or an unknown price of the GPU."""
        if self.vcpus is None or self.memory_gb is None:
            return None
        standard = disk_type(self.machine_type) is None
        hour = Usage(
            vcpu=self.vcpus,
            memory_gb=self.memory_gb,
            disk_gb=self.disk_gb * standard,
            ssd_gb=self.disk_gb * (not standard),
            gpu=1 if self.gpu else 0,
        )
        return hour.cost(rates, prices.GPU_HOUR.get(self.gpu or ""))

    def images_per_second(self, models: list[str], engine: EngineName, precision: Precision) -> float | None:
        """Return images per second through all ``models``, or None for an unknown model or machine type."""
        family = _family(self.machine_type)
        operations = [facts.gflop(model) for model in models]
        if self.vcpus is None or None in operations:
            return None
        work = sum(each for each in operations if each is not None)
        decoding = _DECODE_SECONDS / self.vcpus
        if self.gpu:
            return 1 / max(work / GPUS[self.gpu].gflops, decoding) if self.gpu in GPUS else None
        if family is None or (engine, precision) not in facts.GFLOPS:
            return None
        form: Precision = "f32" if precision == "bf16" and not family.bf16 else precision
        return 1 / (work / (self.vcpus * family.speed * facts.GFLOPS[engine, form]) + decoding)


def disk_type(*machine_types: str) -> str | None:
    """Return the disk type that suits all machine types, or None for Dataflow's default."""
    needed = {_disk_type(each) for each in machine_types}
    return next((each for each in (_HYPERDISK, _SSD) if each in needed), None)


def _disk_type(machine_type: str) -> str | None:
    if machine_type in _FIXED:
        return _FIXED[machine_type][2]
    family = _family(machine_type)
    return family.disk_type if family else None


def _family(machine_type: str) -> _Family | None:
    match = re.fullmatch(r"(.+)-\d+", machine_type)
    return _FAMILIES.get(match[1]) if match else None
