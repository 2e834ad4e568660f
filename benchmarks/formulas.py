"""Estimate what a large job takes: the formulas of docs/scale.md and their parameters."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from transforms import defaults
from transforms.history import subtract, units

SIZES = {1_000_000: 64, 100_000_000: 1_024, 1_000_000_000: 8_192}  # images: cores
TABLES = 2


@dataclass(frozen=True, slots=True)
class Parameters:
    """The parameters of the formulas, explained in docs/scale.md. Prices are list prices in USD: look up yours."""

    images_per_core: float = 2.6  # a second, B7 and B6 at bf16; measured: 5.2 on 2 cores
    memory_per_core: float = 4.0  # GB
    failing: float = 0.001  # share of images
    image_bytes: float = 500e3
    page: int = 1000  # objects in one listing request
    page_seconds: float = 0.2
    manifest_rate: float = 340e3  # rows a second, for one source
    join_bytes: float = 70.0  # an encoded ref on its way to the join
    known_bytes: float = 85.0  # an encoded table row on its way to the join
    gather_bytes: float = 170.0  # an encoded ref on its way to its unit
    open_seconds: float = 0.15  # to open a table file on gs://, which takes three requests
    readers: int = 16  # files that one thread of a worker reads at once
    shard_bytes: float = 570.0  # a ref in a shard during the join, if all refs are done in both tables
    local_base: float = 352e6  # bytes of a local process, which is launcher, engine and worker
    local_bytes: float = 715.0  # in this process, for each image
    row_bytes: float = 9.5e3  # upper limit for both tables: 2304 floats, which compress little, and the rest
    core_hour: float = 0.056
    gb_hour: float = 0.003557
    shuffle_gb: float = 0.011
    class_a: float = 0.005e-3  # a request that writes or lists
    class_b: float = 0.0004e-3  # a request that reads


def estimate(images: int, cores: int, parameters: Parameters) -> dict[str, float]:
    """Return the numbers of docs/scale.md for a job of ``images`` images, none of which is done yet."""
    unit_count = units.number_of_units(images)
    failure_files = unit_count * (1 - (1 - parameters.failing) ** defaults.UNIT_SIZE)
    hours = images / parameters.images_per_core / cores / 3600
    pages = ceil(images / parameters.page)
    shuffled = images * (parameters.join_bytes + parameters.gather_bytes)
    compute = cores * hours * (parameters.core_hour + parameters.memory_per_core * parameters.gb_hour)
    requests = (pages + TABLES * unit_count + failure_files) * parameters.class_a + images * parameters.class_b
    return {
        "listing a folder: requests": pages,
        "listing a folder: hours": pages * parameters.page_seconds / 3600,
        "listing a manifest: minutes": images / parameters.manifest_rate / 60,
        "units": unit_count,
        "files of tables": TABLES * unit_count,
        "files of failures": failure_files,
        "tables, GB": images * parameters.row_bytes / 1e9,
        "images read, TB": images * parameters.image_bytes / 1e12,
        "shuffle, GB": shuffled / 1e9,
        "join: memory of a shard, MB": images / subtract.SHARDS * parameters.shard_bytes / 1e6,
        "if run in one process: its memory, GB": (parameters.local_base + images * parameters.local_bytes) / 1e9,
        "next run: files opened": TABLES * unit_count + failure_files,
        "next run: core hours to open them": TABLES * unit_count * parameters.open_seconds / parameters.readers / 3600,
        "next run: shuffle, GB": images * (parameters.join_bytes + TABLES * parameters.known_bytes) / 1e9,
        "cores": cores,
        "hours": hours,
        "price, machines, $": compute,
        "price, shuffle and requests, $": shuffled / 1e9 * parameters.shuffle_gb + requests,
        "price, all, $": compute + shuffled / 1e9 * parameters.shuffle_gb + requests,
    }


def table() -> str:
    """Return the numbers for all sizes, as a Markdown table."""
    columns = [estimate(size, cores, Parameters()) for size, cores in SIZES.items()]
    lines = ["| | " + " | ".join(map(_size, SIZES)) + " |", "|---|---|---|---|"]
    rows = (f"| {name} | " + " | ".join(_short(column[name]) for column in columns) + " |" for name in columns[0])
    return "\n".join([*lines, *rows])


def _size(images: int) -> str:
    return f"{images // 10**9} billion" if images >= 10**9 else f"{images // 10**6} million"


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
