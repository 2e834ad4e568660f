"""Where the tables lie below the output.

OUTPUT/predictions/model=<name>-<recipe>/dt=<day>/<unit>.parquet
OUTPUT/embeddings/model=<name>-<recipe>/dt=<day>/<unit>.parquet
OUTPUT/failures/dt=<day>/<unit>.parquet
OUTPUT/runs/<run id>.json
OUTPUT/lock.json                 while somebody works on them
"""

from __future__ import annotations

from transforms.storage import files

FAILURES = "failures"

FOLDERS = ("predictions", "embeddings", FAILURES, "runs", "reports")


def folder(output: str, table: str) -> str:
    """A table's name -> its folder, with a slash at the end."""
    return files.join(output, table) + "/"


def unit_file(output: str, table: str, day: str, unit: str) -> str:
    """Where a unit's rows of a table go. ``day``, as 2026-11-20, is the run's and not the clock's of a worker."""
    return files.join(output, table, f"dt={day}", f"{unit}.parquet")


def run_report(output: str, run_id: str) -> str:
    """Where a run's report goes."""
    return files.join(output, "runs", f"{run_id}.json")


def lock(output: str) -> str:
    """What says who works on the tables."""
    return files.join(output, "lock.json")
