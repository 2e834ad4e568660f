"""``beamsight tables``: list the tables of an output, check them, and remove from them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

from beamsight.options import option
from beamsight.text import columns, count, size
from runners.cli import codes
from runners.cli.parser import Command, Outcome, Parsed
from transforms.errors import UsageError

if TYPE_CHECKING:
    from transforms.tables.inventory import Contents

_HEADINGS = ("TABLE", "DAYS", "FROM", "TO", "ROWS", "FILES", "SIZE", "INDEX")


@dataclass(frozen=True, slots=True)
class TablesOptions:
    """Which output, and what to do with its tables."""

    output: str = option(positional=True, metavar="OUTPUT", help="Folder of the tables, on a disk or gs://")
    check: bool = option(
        False, help="Check of all files: each key once, the key index, and the footers; exit code 1 if one is wrong"
    )
    drop_recipe: str | None = option(
        None, metavar="RECIPE", help="Recipe to remove with all its rows, such as efficientnet-b7-1a2b3c4d"
    )
    expire_before: date | None = option(
        None, help="Logical day before which all rows are removed from all tables, such as 2026-11-20"
    )

    def __post_init__(self) -> None:
        if sum((self.check, self.drop_recipe is not None, self.expire_before is not None)) > 1:
            raise UsageError("--check, --drop-recipe and --expire-before exclude each other; use one of them")


def tables(parsed: Parsed) -> Outcome:
    """Do what the options ask for."""
    from transforms.storage import files
    from transforms.tables import check, inventory

    asked = parsed.option(TablesOptions)
    output = files.absolute(asked.output)
    files.check(output)
    if asked.check:
        found = list(check.check(output))
        return Outcome("\n".join(found) or "the tables and their key indexes are right", int(bool(found)))
    contents = inventory.read(output)
    if asked.drop_recipe is None and asked.expire_before is None:
        return Outcome("\n\n".join(_describe(contents)))
    return Outcome(_remove(asked, output))


def _remove(asked: TablesOptions, output: str) -> str:
    """Remove rows while the lock is held, and return what was removed."""
    from runners.dataflow import job_state
    from runners.lock import lock
    from transforms.tables import remove

    with lock.hold(output, "beamsight tables", sys.stderr, still_runs=job_state.still_runs) as held:
        if asked.drop_recipe is not None:
            removed = remove.drop_recipe(output, asked.drop_recipe, held.token)
        else:
            removed = remove.expire(output, f"{asked.expire_before}", held.token)
    lines = [f"removed {count(each.files, 'file')} ({size(each.size)}) of {each.table}" for each in removed]
    return "\n".join(lines) or f"there are no rows before {asked.expire_before}"


def _describe(contents: Contents) -> Iterator[str]:
    """Yield the tables, the recipes, and the units that are not published."""
    from beamsight.reports import recipes
    from transforms.tables import inventory, layout

    rows: list[tuple[str, ...]] = [_HEADINGS]
    known = []
    for table in sorted(contents.tables.keys() | contents.indexed):
        found = contents.tables.get(table, [])
        days = sorted({each.day for each in found})
        figures = (f"{len(days):,}", *(days[:1] or ["-"]), *(days[-1:] or ["-"]), f"{inventory.count_rows(found):,}")
        bytes_ = size(sum(each.size for each in found))
        rows.append((table, *figures, f"{len(found):,}", bytes_, inventory.index_state(contents, table)))
        if found and "/model=" in table and not layout.is_of_shards(table):
            facts = recipes.read_facts(contents.output, table, found[-1].uri)
            known.append((table.partition("/model=")[2], recipes.describe(table, facts)))
    yield columns(rows, right=(1, 4, 5, 6))
    if known:
        yield columns([("RECIPE", "MADE WITH"), *known])
    if contents.units:
        rows_ = count(inventory.count_rows(contents.units), "row")
        yield f"not published yet: {rows_} in {count(len(contents.units), 'file')}; the next run publishes them"


COMMAND = Command(
    name="tables",
    summary="list the tables of an output, check them, or remove rows from them",
    run=tables,
    options=(TablesOptions,),
    description="List the tables of an output: recipes, logical days, rows, files and the state of the key indexes. "
    "With an option, check the tables or remove rows. Rows are removed while the lock of the output is held.",
    examples={
        "what is there": "beamsight tables catalog",
        "read everything, and report what is wrong": "beamsight tables gs://bucket/catalog --check",
        "remove a recipe that nobody reads any more": "beamsight tables catalog --drop-recipe efficientnet-b7-1a2b3c4d",
        "remove the rows of all days before a day": "beamsight tables catalog --expire-before 2026-01-01",
    },
    notes=f"{codes.NOTE}\n--check ends with 1 if something is wrong",
)
