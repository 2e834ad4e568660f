"""Estimate what large jobs and nights take: the formulas of docs/scale.md and their parameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil

from transforms import defaults
from transforms.history import units
from transforms.tables import key_index, publish

JOBS = {1_000_000: 64, 100_000_000: 1_024, 1_000_000_000: 8_192}  # images, of which none is done: cores
MILLION = 1_000_000
WORKERS = 64  # that list a bucket
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
    part_bytes: float = 58.0  # an encoded ref on its way to its part; only for manifests and sources that overlap
    unit_bytes: float = 74.0  # an encoded ref on its way to its unit
    vector_bytes: float = 8.53e3  # a row of the embeddings: 2304 floats, which compress little, and the rest
    class_bytes: float = 200.0  # a row of the predictions; assumed
    key_bytes: float = 14.0  # a key in an index file
    find_core_seconds: float = 11.9  # to list a million images and to find that all are done
    find_base: float = 609e6  # bytes of the process that finds what is missing
    open_seconds: float = 0.05  # for a small object of gs://
    readers: int = 16  # concurrent requests of a worker for index files
    core_hour: float = 0.056
    gb_hour: float = 0.003557
    shuffle_gb: float = 0.011
    class_a: float = 0.005e-3  # a request that writes or lists
    class_b: float = 0.0004e-3  # a request that reads


def published_files(images: int, row_bytes: float) -> int:
    """Return the number of published files of a table for the images of one day."""
    rows_of_a_file = min(publish.FILE_ROWS, publish.FILE_BYTES / row_bytes)
    whole_units = max(1, int(rows_of_a_file / defaults.UNIT_SIZE))
    return ceil(units.number_of_units(images) / whole_units)


def index_files(keys: int) -> int:
    """Return the number of index files of a table after the last merge."""
    return ceil(keys / key_index.FILE_ROWS)


def estimate_job(images: int, cores: int, parameters: Parameters) -> dict[str, float]:
    """Return what a job takes for ``images`` images in a folder on gs://, none of which is done yet."""
    unit_count = units.number_of_units(images)
    failure_units = unit_count * (1 - (1 - parameters.failing) ** defaults.UNIT_SIZE)
    table_files = sum(published_files(images, size) for size in (parameters.vector_bytes, parameters.class_bytes))
    unit_files = TABLES * unit_count + failure_units
    hours = images / parameters.images_per_core / cores / 3600
    pages = ceil(images / parameters.page)
    shuffle = images * parameters.unit_bytes / 1e9
    # A unit has a marker and its files, which are read once and deleted. A published file has two index files.
    writes = pages + unit_count + unit_files + 3 * table_files
    requests = writes * parameters.class_a + (images + unit_files) * parameters.class_b
    compute = cores * hours * (parameters.core_hour + parameters.memory_per_core * parameters.gb_hour)
    return {
        "listing: requests": pages,
        "units": unit_count,
        "files of units": unit_files,
        "files of tables": table_files,
        "index files of both tables, merged": TABLES * index_files(images),
        "tables, GB": images * (parameters.vector_bytes + parameters.class_bytes) / 1e9,
        "index, GB": TABLES * images * parameters.key_bytes / 1e9,
        "images read, TB": images * parameters.image_bytes / 1e12,
        "shuffle, GB": shuffle,
        "cores": cores,
        "hours": hours,
        "price, machines, $": compute,
        "price, shuffle and requests, $": shuffle * parameters.shuffle_gb + requests,
        "price, all, $": compute + shuffle * parameters.shuffle_gb + requests,
    }


def estimate_listing(listed: int, done: int, workers: int, parameters: Parameters) -> dict[str, float]:
    """Return what a run takes that lists ``listed`` images, all done, when ``done`` images are in both tables.

    The listing is that of a bucket in order, by ``workers`` workers of one core.
    """
    pages = ceil(listed / parameters.page)
    about = TABLES * index_files(done)
    core_seconds = listed / MILLION * parameters.find_core_seconds
    # A worker reads what is beside each index file, and then the index files in its ranges.
    parts = TABLES * index_files(listed)
    start = about * parameters.open_seconds / parameters.readers
    hours = (pages * parameters.page_seconds + core_seconds + parts * parameters.open_seconds) / workers / 3600
    hours += start / 3600
    requests = pages * parameters.class_a + (parts + workers * about) * parameters.class_b
    compute = workers * hours * (parameters.core_hour + parameters.memory_per_core * parameters.gb_hour)
    return {
        "images in both tables, million": done / MILLION,
        "images listed, million": listed / MILLION,
        "workers": workers,
        "listing: requests": pages,
        "index: requests": parts + workers * about,
        "index: GB read": TABLES * listed * parameters.key_bytes / 1e9,
        "memory of a worker, GB": parameters.find_base / 1e9,
        "core hours without waiting": core_seconds / 3600,
        "minutes": 60 * hours,
        "price, $": compute + requests,
    }


def tables() -> str:
    """Return the tables of docs/scale.md, in Markdown."""
    parameters = Parameters()
    jobs = {_size(images): estimate_job(images, cores, parameters) for images, cores in JOBS.items()}
    runs = {
        "a night of a million after 10 nights": estimate_listing(MILLION, 10 * MILLION, 1, parameters),
        "a night of a million after 300 nights": estimate_listing(MILLION, 300 * MILLION, 1, parameters),
        "1 billion, all listed again": estimate_listing(1000 * MILLION, 1000 * MILLION, WORKERS, parameters),
    }
    return f"{_table(jobs)}\n\n{_table(runs)}"


def _table(columns: Mapping[str, Mapping[str, float]]) -> str:
    lines = ["| | " + " | ".join(columns) + " |", "|---" * (1 + len(columns)) + "|"]
    names = next(iter(columns.values()))
    rows = (f"| {name} | " + " | ".join(_short(column[name]) for column in columns.values()) + " |" for name in names)
    return "\n".join([*lines, *rows])


def _size(images: int) -> str:
    return f"{images // 10**9} billion" if images >= 10**9 else f"{images // 10**6} million"


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
