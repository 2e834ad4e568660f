"""The paths of the tables below the output.

OUTPUT/predictions/model=<name>-<recipe>/dt=<day>/<unit>.parquet
OUTPUT/embeddings/model=<name>-<recipe>/dt=<day>/<unit>.parquet
OUTPUT/failures/dt=<day>/<unit>.parquet
OUTPUT/runs/<run id>.json
OUTPUT/lock.json                 while a run works on the tables
OUTPUT/_work/started/<run id>-<unit>.json   while a unit is processed
"""

from __future__ import annotations

from transforms.storage import files

FAILURES = "failures"

FOLDERS = ("predictions", "embeddings", FAILURES, "runs", "reports", "_work")


def folder(output: str, table: str) -> str:
    """Return the folder of a table, with a slash at the end."""
    return files.join(output, table) + "/"


def unit_file(output: str, table: str, day: str, unit: str) -> str:
    """Return the path of a unit's file of a table. ``day``, as 2026-11-20, is the logical day of the run."""
    return files.join(output, table, f"dt={day}", f"{unit}.parquet")


def run_report(output: str, run_id: str) -> str:
    """Return the path of a run's report."""
    return files.join(output, "runs", f"{run_id}.json")


def own_files(output: str) -> tuple[str, ...]:
    """Return the folders of an output, with a slash at the end, and the lock. None of its files is an image."""
    return (*(folder(output, name) for name in (*FOLDERS, "_work")), lock(output))


def lock(output: str) -> str:
    """Return the path of the lock, which names the run that works on the tables."""
    return files.join(output, "lock.json")


def markers(output: str) -> str:
    """Return the folder of the markers of units in progress, with a slash at the end."""
    return files.join(output, "_work", "started") + "/"


def marker(output: str, run_id: str, unit: str) -> str:
    """Return the path of the marker of a unit in progress."""
    return f"{markers(output)}{run_id}-{unit}.json"
