"""What the recipes of an output are, and how a new one differs from the last one of its model.

The footers of a table say which model made its rows. The report of the run that wrote a file says with which options.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from beamsight.reports import runs
from beamsight.text import count
from transforms.errors import FetchError
from transforms.inference.recipe import Recipe
from transforms.tables import inventory, layout, reader
from transforms.tables.inventory import TableFile

Facts = dict[str, Any]

_OPTIONS = {"predictions": ("top_k", "probabilities"), "embeddings": ("normalize",)}


def read_facts(output: str, table: str, newest: str) -> Facts:
    """Return what is recorded about the recipe of a table.

    Args:
        output: The folder of the tables.
        table: The name of the table.
        newest: The newest file of the table.

    Returns:
        The metadata of the footer, such as ``precision``, and the options of the run that change the rows, such as
        ``top_k``. The options are missing if the report of the run is.

    Raises:
        FetchError: The file cannot be read.
    """
    _, facts = reader.footer(newest)
    found, _ = runs.read_runs([layout.run_report(output, facts.get("run_id", ""))])
    options = found[0].options if found else {}
    return facts | {name: options[name] for name in _options_of(table) if name in options}


def describe(table: str, facts: Mapping[str, Any]) -> str:
    """Return the facts of a recipe as one line: precision, resizer, options and the origin of the model."""
    options = [_flag(name, facts[name]) for name in _options_of(table) if name in facts]
    resizer = f"--resizer {_resizer(facts)}" if "preprocessing" in facts else None
    return ", ".join(filter(None, (facts.get("precision"), resizer, *options, facts.get("source"))))


def explain_new(output: str, recipes: Sequence[Recipe]) -> Iterator[str]:
    """Yield a sentence for each table that a run is about to start although the model has one with another recipe."""
    for recipe in recipes:
        if next(reader.parts(layout.folder(output, recipe.table)), None) is not None:
            continue
        kind = recipe.table.partition("/")[0]
        others = re.compile(re.escape(f"{kind}/model={recipe.spec.name}-") + "[0-9a-f]{8}")
        tables = {name: found for name, found in inventory.list_tables(output, kind).items() if others.fullmatch(name)}
        if tables:
            yield _explain(output, recipe, tables)


def _explain(output: str, recipe: Recipe, tables: Mapping[str, Sequence[TableFile]]) -> str:
    """Compare a recipe with the last one. Damaged files of other recipes do not stop the run."""
    last = max(tables, key=lambda table: (tables[table][-1].day, table))
    name, old_name = recipe.folder, last.partition("/model=")[2]
    old = f"the old one ({old_name})" if len(tables) == 1 else f"{count(len(tables), 'older recipe')} (last {old_name})"
    try:
        differences = _differences(last, read_facts(output, last, tables[last][-1].uri), recipe)
        rows = count(sum(inventory.count_rows(found) for found in tables.values()), "row")
    except FetchError as error:
        return f"{name} is a new recipe; the rows of {old} stay, and cannot be counted: {error}"
    cause = f"`{' '.join(differences)}`" if differences else name
    return f"{cause} is a new recipe: {rows} of {old} stay, and the table of {name} starts empty"


def _differences(table: str, old: Mapping[str, Any], recipe: Recipe) -> list[str]:
    """Return the options and other causes by which a recipe differs from recorded facts."""
    new = {**recipe.metadata(), **{name: getattr(recipe, name) for name in _options_of(table)}}
    option = "--classifier" if recipe.spec.task == "classify" else "--embedder"
    found = [_flag(name, new[name]) for name in _options_of(table) if name in old and old[name] != new[name]]
    if old.get("precision") != recipe.precision:
        found.append(f"--precision {recipe.precision}")
    if _resizer(old) != _resizer(new):
        found.append(f"--resizer {_resizer(new)}")
    if old.get("content_hash") != new["content_hash"] or _without_resizer(old) != _without_resizer(new):
        found.append(f"{option} {recipe.bundle}")
    return found


def _resizer(facts: Mapping[str, Any]) -> str:
    return "simd" if "bicubic-simd" in facts.get("preprocessing", "").split() else "pillow"


def _without_resizer(facts: Mapping[str, Any]) -> list[str]:
    return [word for word in facts.get("preprocessing", "").split() if not word.startswith("bicubic")]


def _options_of(table: str) -> tuple[str, ...]:
    return _OPTIONS.get(table.partition("/")[0], ())


def _flag(name: str, value: Any) -> str:
    """Return an option as a person writes it, such as ``--top-k 3`` or ``--no-normalize``."""
    flag = name.replace("_", "-")
    if isinstance(value, bool):
        return f"--{flag}" if value else f"--no-{flag}"
    return f"--{flag} {value}"
