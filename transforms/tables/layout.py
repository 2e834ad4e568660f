"""The paths of the tables below the output.

OUTPUT/predictions/model=<name>-<recipe>/dt=<day>/<name>.parquet
OUTPUT/embeddings/model=<name>-<recipe>/dt=<day>/<name>.parquet
OUTPUT/failures/dt=<day>/<name>.parquet
OUTPUT/shards/model=<name>-<recipe>/dt=<day>/<name>.parquet      files of many images that were read to their ends
OUTPUT/runs/<run id>.json
OUTPUT/lock.json                 while a run works on the tables
OUTPUT/_work/started/<run id>-<unit>.json   while a unit is processed
OUTPUT/_work/units/<run id>/<table>/dt=<day>/<unit>.parquet       finished units that are not published yet
OUTPUT/_work/index/<table>/<name>.parquet and .json               the keys of the published files
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from transforms.storage import files

FAILURES = "failures"
SHARDS = "shards"
WORK = "_work"

FOLDERS = ("predictions", "embeddings", FAILURES, SHARDS, "runs", "reports", WORK)

_TABLE_FILE = re.compile(
    r"(?P<table>(?:predictions|embeddings|shards)/model=[^/]+|failures)/dt=(?P<day>\d{4}-\d\d-\d\d)/[^/]+\.parquet"
)
_UNIT_FILE = re.compile(rf"{WORK}/units/(?P<run_id>[^/]+)/{_TABLE_FILE.pattern}")


class TablePath(NamedTuple):
    """What the path of a published file says."""

    table: str
    day: str


class UnitPath(NamedTuple):
    """What the path of a unit's file says."""

    run_id: str
    table: str
    day: str


def shards_of(table: str) -> str:
    """Return the table that says which shards are in a table: ``shards/model=a`` for ``predictions/model=a``."""
    return f"{SHARDS}/{table.partition('/')[2]}"


def with_logs(tables: Iterable[str]) -> tuple[str, ...]:
    """Return some tables of results, and all other tables that a run of them writes."""
    tables = tuple(tables)
    return (*tables, *map(shards_of, tables), FAILURES)


def is_of_shards(table: str) -> bool:
    """Return whether a table has a row for each shard."""
    return table.startswith(f"{SHARDS}/")


def folder(output: str, table: str) -> str:
    """Return the folder of a table, with a slash at the end."""
    return files.join(output, table) + "/"


def table_file(output: str, table: str, day: str, name: str) -> str:
    """Return the path of a published file. ``day``, as 2026-11-20, is the logical day of its rows."""
    return files.join(output, table, f"dt={day}", f"{name}.parquet")


def parse_table_file(output: str, uri: str) -> TablePath | None:
    """Return the parts of the path of a published file. None for any other file."""
    found = _TABLE_FILE.fullmatch(relative(output, uri))
    return TablePath(found["table"], found["day"]) if found else None


def relative(output: str, uri: str) -> str:
    """Return the path of a file in the output relative to the output."""
    return uri.removeprefix(files.join(output, ""))


def units_folder(output: str, run_id: str = "") -> str:
    """Return the folder of the unpublished units of a run, or of all runs, with a slash at the end."""
    return files.join(output, WORK, "units", run_id) + ("/" if run_id else "")


def unit_file(output: str, run_id: str, table: str, day: str, unit: str) -> str:
    """Return the path of a unit's file of a table, before it is published."""
    return table_file(units_folder(output, run_id), table, day, unit)


def parse_unit_file(output: str, uri: str) -> UnitPath | None:
    """Return the parts of the path of a unit's file. None for any other file."""
    found = _UNIT_FILE.fullmatch(relative(output, uri))
    return UnitPath(found["run_id"], found["table"], found["day"]) if found else None


def index_folder(output: str, table: str) -> str:
    """Return the folder of a table's key index, with a slash at the end."""
    return files.join(output, WORK, "index", table) + "/"


def run_report(output: str, run_id: str) -> str:
    """Return the path of a run's report."""
    return files.join(output, "runs", f"{run_id}.json")


def own_files(output: str) -> tuple[str, ...]:
    """Return the folders of an output, with a slash at the end, and the lock. None of its files is an image."""
    return (*(folder(output, name) for name in FOLDERS), lock(output))


def lock(output: str) -> str:
    """Return the path of the lock, which names the run that works on the tables."""
    return files.join(output, "lock.json")


def markers(output: str) -> str:
    """Return the folder of the markers of units in progress, with a slash at the end."""
    return files.join(output, WORK, "started") + "/"


def marker(output: str, run_id: str, unit: str) -> str:
    """Return the path of the marker of a unit in progress."""
    return f"{markers(output)}{run_id}-{unit}.json"
