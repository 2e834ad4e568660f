"""What Dataflow charges: list prices, and the cost of the resources that a job used.

Prices: Dataflow batch in us-central1, USD per hour, list prices of 2025 from https://cloud.google.com/dataflow/pricing.
They differ by region and change over time. Those of batch and of GPUs are also in Beam's own cost benchmark
(``apache_beam/testing/load_tests/dataflow_cost_consts.py``).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rates:
    """USD per hour for one vCPU, and for one GB of memory."""

    vcpu: float
    memory_gb: float


BATCH = Rates(0.056, 0.003557)
FLEXRS = Rates(0.0336, 0.0021342)  # the same list, the column FlexRS: 40 % below batch

_SSD_GB = 0.000298
_DISK_GB = 0.000054

# By the type of the GPU. A GPU that is not here has no price that we know for certain.
GPU_HOUR = {
    "nvidia-l4": 0.672,
    "nvidia-tesla-t4": 0.42,
    "nvidia-tesla-a100": 3.72,
    "nvidia-a100-80gb": 4.7137,
}


@dataclass(frozen=True, slots=True)
class Usage:
    """Hours of resources: of vCPUs, of GB of memory, of GB of disks of both kinds, and of GPUs."""

    vcpu: float = 0.0
    memory_gb: float = 0.0
    disk_gb: float = 0.0
    ssd_gb: float = 0.0
    gpu: float = 0.0

    def cost(self, rates: Rates, gpu_hour: float | None) -> float | None:
        """Return USD, or None if a GPU was used whose price is unknown.

        Args:
            rates: The prices of vCPUs and memory.
            gpu_hour: USD per hour of a GPU. None if it is unknown, or if the job has none.
        """
        if self.gpu and gpu_hour is None:
            return None
        disks = self.disk_gb * _DISK_GB + self.ssd_gb * _SSD_GB
        return self.vcpu * rates.vcpu + self.memory_gb * rates.memory_gb + disks + self.gpu * (gpu_hour or 0.0)
