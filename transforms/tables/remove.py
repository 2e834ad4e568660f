"""Remove a recipe, or old days, from an output.

The order of the steps makes a kill at any moment harmless. The index of a table is deleted before its first file, and
made anew after its last one. So the index never has a key whose row is gone, and the next run makes a missing index.
Units that are not published go first, or else the next run would publish them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from beamsight.text import nearest
from transforms.errors import UsageError
from transforms.storage import files
from transforms.tables import inventory, publish, rebuild
from transforms.tables.inventory import Contents, TableFile
from transforms.tables.publish import UnitFile

_THREADS = 16
_BATCH = 256  # files that are deleted between two looks at the lock

Chosen = Callable[[str, str], bool]  # of a table and a logical day


class Removed(NamedTuple):
    """What was removed from a table: the number of files, also of unpublished units, and their bytes."""

    table: str
    files: int
    size: int


def drop_recipe(output: str, recipe: str, token: str) -> list[Removed]:
    """Remove the tables of a recipe, also that of its shards. Rows of the failures may name other tables, and stay.

    Args:
        output: The folder of the tables.
        recipe: The name of the recipe, such as ``efficientnet-b7-1a2b3c4d``.
        token: The token of the lock that this process holds; empty if nothing else can write to the output.

    Raises:
        UsageError: There is no such recipe.
        Stopped: Another run holds the lock.
    """
    contents = inventory.read(output)
    known = {*contents.tables, *contents.indexed, *(unit.table for unit in contents.units)}
    recipes = sorted({table.partition("/model=")[2] for table in known if "/model=" in table})
    if recipe not in recipes:
        there = f"its recipes are {', '.join(recipes)}" if recipes else "it has no recipes"
        raise UsageError(f"{output} has no recipe {recipe!r}{nearest(recipe, recipes)}; {there}")
    return _remove(contents, lambda table, _: table.partition("/model=")[2] == recipe, token)


def expire(output: str, before: str, token: str) -> list[Removed]:
    """Remove the rows of all logical days before ``before``, such as ``2026-11-20``, also failures.

    See ``drop_recipe`` for the other arguments and the errors. An image of these days that is listed again is
    processed again.
    """
    return _remove(inventory.read(output), lambda _, day: day < before, token)


def _remove(contents: Contents, chosen: Chosen, token: str) -> list[Removed]:
    output = contents.output
    tables = sorted({*contents.tables, *contents.indexed, *(unit.table for unit in contents.units)})
    publish.require_lock(output, token)
    for table in tables:  # else keys of units that are deleted here would stay in the index until the next run
        publish.undo(output, table)
    removed = []
    for table in tables:
        units = [unit for unit in contents.units if unit.table == table and chosen(table, unit.day)]
        gone = [each for each in contents.tables.get(table, ()) if chosen(table, each.day)]
        for batch in _batches(units):
            _delete(output, batch, token)
        if gone:
            publish.require_lock(output, token)
            rebuild.delete(output, table)
            for batch in _batches(gone):
                _delete(output, batch, token)
            rebuild.rebuild(output, [table], token)
        if units or gone:
            size = sum(each.size for each in units) + sum(each.size for each in gone)
            removed.append(Removed(table, len(units) + len(gone), size))
    return removed


def _batches(found: Sequence[UnitFile | TableFile]) -> Iterator[list[str]]:
    for start in range(0, len(found), _BATCH):
        yield [each.uri for each in found[start : start + _BATCH]]


def _delete(output: str, uris: Sequence[str], token: str) -> None:
    publish.require_lock(output, token)
    with ThreadPoolExecutor(_THREADS) as pool:
        list(pool.map(files.delete, uris))
