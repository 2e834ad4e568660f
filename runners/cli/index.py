"""``beamsight index``: keep the key indexes of an output."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from beamsight.options import option
from beamsight.text import count
from runners.cli.parser import Command, Outcome, Parsed


@dataclass(frozen=True, slots=True)
class IndexOptions:
    """Which output."""

    output: str = option(positional=True, metavar="OUTPUT", help="Folder of the tables, on a disk or gs://")


def _rebuild(parsed: Parsed) -> Outcome:
    """Make the key indexes of all tables anew while the lock is held."""
    from runners.dataflow import job_state
    from runners.lock import lock
    from transforms.storage import files
    from transforms.tables import inventory, rebuild

    output = files.absolute(parsed.option(IndexOptions).output)
    files.check(output)
    inventory.read(output)  # raises before the lock creates the folder of a wrong path
    with lock.hold(output, "beamsight index rebuild", sys.stderr, still_runs=job_state.still_runs) as held:
        contents = inventory.read(output)
        rebuild.rebuild(output, sorted(contents.tables.keys() | contents.indexed), held.token)
    lines = [f"indexed {count(len(found), 'file')} of {table}" for table, found in sorted(contents.tables.items())]
    return Outcome("\n".join(lines))


COMMANDS = (
    Command(
        name="index rebuild",
        summary="make the key indexes anew from the tables",
        run=_rebuild,
        options=(IndexOptions,),
        description="Make the key indexes anew from the URIs in the tables. A run does this by itself for an index "
        "that is missing, or that covers another number of files than the table has.",
        examples={"all tables": "beamsight index rebuild gs://bucket/catalog"},
    ),
)
