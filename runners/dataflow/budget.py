"""The limit of ``--max-cost``: of the estimate before a job is sent, and of its cost while it is watched."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TextIO

from apache_beam.options.pipeline_options import PipelineOptions

from pipelines.options import CatalogOptions
from runners.dataflow import estimate, flexrs, options, prices
from runners.dataflow.machine import Machine
from runners.dataflow.prices import Rates, Usage
from runners.dataflow.submit_options import Figures, SubmitOptions
from runners.jobs import beam_options, preview, resolve
from runners.jobs.options import RunOptions
from transforms import counts
from transforms.errors import UsageError

_HOUR = 3600.0
_MB_PER_GB = 1000.0  # as in Beam's cost benchmark


@dataclass(frozen=True, slots=True)
class Budget:
    """The maximum cost of a job, and the prices of its machines.

    usd: The maximum cost.
    machine: The machine that runs the models.
    machine_price: USD per hour of such a machine, all in, or None for the list prices.
    """

    usd: float
    machine: Machine
    rates: Rates
    machine_price: float | None = None

    def __post_init__(self) -> None:
        if self.machine_price is not None and self.machine.vcpus is None:
            raise UsageError(
                f"--max-cost {self.usd:g}: the cost of the job cannot be followed, because the size of "
                f"{self.machine.machine_type} is unknown; choose another --machine-type, or leave out --max-cost"
            )
        if self.machine_price is None and self.machine.gpu and self.machine.gpu not in prices.GPU_HOUR:
            raise UsageError(
                f"--max-cost {self.usd:g}: the price of a {self.machine.gpu} is unknown; pass --machine-price, the "
                "price per hour of a machine with it"
            )

    def cost(self, used: Mapping[str, float]) -> float:
        """Return USD for the resources that a job used so far.

        Args:
            used: Dataflow's metrics of the job by name: seconds of vCPUs and GPUs, MB-seconds of memory, GB-seconds of
                disks.
        """
        usage = Usage(
            vcpu=used.get("TotalVcpuTime", 0.0) / _HOUR,
            memory_gb=used.get("TotalMemoryUsage", 0.0) / _MB_PER_GB / _HOUR,
            disk_gb=used.get("TotalPdUsage", 0.0) / _HOUR,
            ssd_gb=used.get("TotalSsdUsage", 0.0) / _HOUR,
            gpu=used.get("TotalGpuTime", 0.0) / _HOUR if self.machine.gpu else 0.0,
        )
        if self.machine_price is not None and self.machine.vcpus is not None:
            return usage.vcpu / self.machine.vcpus * self.machine_price
        return usage.cost(self.rates, prices.GPU_HOUR.get(self.machine.gpu or "")) or 0.0


def make_budget(where: SubmitOptions, beam: PipelineOptions, figures: Figures) -> Budget | None:
    """Return the budget of a job, or None without ``--max-cost``. Raises UsageError for an unknown price."""
    if where.max_cost is None:
        return None
    machine = options.machine_of(where, beam)
    return Budget(where.max_cost, machine, flexrs.rates(beam), figures.machine_price)


def require_affordable(
    run: RunOptions, where: SubmitOptions, beam: PipelineOptions, figures: Figures, stream: TextIO
) -> None:
    """Raise UsageError if the estimate of a job is above ``--max-cost``.

    The images that the tables lack are counted here, unless ``figures`` has their number.

    Args:
        run: The options of the run, with models that are bundles.
        where: The options of Dataflow.
        beam: Beam's options of the job.
        figures: Figures of the user, which replace our estimates.
        stream: Receives a message about an unknown estimate of a job that is watched.
    """
    if make_budget(where, beam, figures) is None:
        return
    gpu = options.gpu_of(where, beam) is not None
    job, _ = resolve.resolve(run, beam, gpu=gpu)
    limit, count = f"--max-cost {where.max_cost:g}", _count(run, job, figures)
    if count == 0:
        return
    estimated = estimate.estimate_job(
        dataclasses.replace(figures, count=count),
        options.machine_of(where, beam),
        models=[recipe.spec.name for recipe in job.recipes],
        engine=job.recipes[0].engine,
        precision=job.recipes[0].precision,
        unit_size=job.unit_size,
        workers=beam_options.workers(beam),
        rates=flexrs.rates(beam),
    )
    if count is not None and estimated.price is not None:
        if estimated.price > (where.max_cost or 0.0):
            raise UsageError(
                f"{limit}: the estimate is {estimated.price:,.2f} USD for {count:,} images; raise --max-cost, process "
                "fewer images with --limit, or pass measured figures with --images-per-second and --machine-price"
            )
        return
    missing = _unknown(count, estimated)
    if not where.wait:
        raise UsageError(
            f"{limit}: the cost is unknown; pass {missing}, or --wait, which cancels a job that costs more"
        )
    stream.write(f"beamsight: {limit}: no estimate without {missing}; the job is cancelled when it has cost more\n")


def _count(run: RunOptions, job: CatalogOptions, figures: Figures) -> int | None:
    """Return the number of images that the job would process. None if shards may hold more of them."""
    if figures.count is not None:
        return figures.count
    tally = preview.count_missing(job)
    if tally[counts.SHARDS] > tally[counts.SHARDS_DONE]:
        return None
    return min(run.limit or tally[counts.MISSING], tally[counts.MISSING])


def _unknown(count: int | None, estimated: Any) -> str:
    """Return the options that would make an estimate known."""
    given = {"--count": count, "--images-per-second": estimated.speed, "--machine-price": estimated.hour}
    return " and ".join(name for name, value in given.items() if value is None)
