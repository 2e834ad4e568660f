"""Run the code of a reader in the environment of the reader, and write the rows that it finds.

    python read_catalogs.py JOBS ROWS

JOBS is a JSON file with a list of jobs: the reader, its code, and the variable that the code assigns. ROWS gets a list
of rows of each job. This script runs without beamsight, so it imports nothing but the standard library.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Callable
from datetime import date, datetime, timezone
from pathlib import Path
from typing import Any

Rows = list[dict[str, Any]]

_ROWS: dict[str, Callable[[Any], Rows]] = {
    "pyarrow": lambda table: table.to_pylist(),
    "pandas": lambda frame: frame.to_dict("records"),
    "DuckDB": lambda relation: relation.to_arrow_table().to_pylist(),
    "Polars": lambda frame: frame.to_dicts(),
    "Hugging Face datasets": lambda dataset: dataset.to_list(),
    "Lance": lambda dataset: dataset.to_table().to_pylist(),
    "Spark": lambda frame: [row.asDict(recursive=True) for row in frame.collect()],
    "pyiceberg": lambda table: table.to_pylist(),
}


def run(job: dict[str, str]) -> Rows:
    """Return the rows that a job finds. A column that is null has no entry in the row."""
    os.chdir(tempfile.mkdtemp())  # Lance and Iceberg write to the current folder.
    if job["reader"] == "DuckDB":
        import duckdb

        found = duckdb.sql(job["code"])
    else:
        names: dict[str, Any] = {}
        exec(job["code"], names)
        found = names[job["variable"]]
    return [
        {name: _plain(value) for name, value in row.items() if _plain(value) is not None}
        for row in _ROWS[job["reader"]](found)
    ]


def _plain(value: Any) -> Any:
    """Return a value as JSON has it. NaN and NaT, which pandas has for null, become None."""
    if hasattr(value, "tolist"):  # NumPy
        value = value.tolist()
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    if value != value:
        return None
    if isinstance(value, datetime):
        return value.astimezone(timezone.utc).isoformat()
    return value.isoformat() if isinstance(value, date) else value


if __name__ == "__main__":
    jobs, rows = map(Path, sys.argv[1:])
    found = [run(job) for job in json.loads(jobs.read_text(encoding="utf-8"))]
    rows.write_text(json.dumps(found), encoding="utf-8")
