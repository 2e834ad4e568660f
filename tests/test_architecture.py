"""The shape of the project: who imports whom, what is packaged, how long a module is."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("transforms", "pipelines", "runners", "beamsight")
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for package in PACKAGES
    for path in sorted((ROOT / package).rglob("*.py"))
}

# Each layer may import those before it. What stands side by side in a layer does not import each other.
LAYERS = (
    (
        "transforms.errors",
        "transforms.prefetch",
        "transforms.defaults",
        "transforms.machine",
        "beamsight.text",
    ),
    ("transforms.member_uris",),
    (
        "transforms.records",
        "transforms.counts",
        "transforms.outage",
        "transforms.time_limit",
        "transforms.vector_math",
        "beamsight.options",
    ),
    ("transforms.storage", "transforms.run_state", "transforms.inference.spec", "transforms.inference.libraries"),
    ("transforms.shards",),
    ("transforms.imaging",),
    ("transforms.inference",),
    ("transforms.tables", "transforms.listing"),
    ("transforms.history",),
    ("transforms.stream",),
    ("transforms.process", "transforms.process_rows"),
    ("transforms.process_shards",),
    ("pipelines", "beamsight.models", "beamsight.reports"),
    ("runners.lock",),
    ("runners.jobs",),
    ("runners.dataflow",),
    ("runners.nights",),
    ("runners.template",),
    ("runners.cli",),
    ("beamsight",),
)


def imports(module: str, *, only_at_start: bool = False) -> set[str]:
    """Our own modules that a module imports, anywhere in it or when it is itself imported."""
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    nodes = tree.body if only_at_start else list(ast.walk(tree))
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return {name for name in found if name in MODULES and name not in _packages()}


def _packages() -> set[str]:
    return {name for name, path in MODULES.items() if path.name == "__init__.py"}


def room(module: str) -> tuple[int, str]:
    """The layer and the room of a module: the longest prefix that LAYERS names."""
    places = {prefix: (place, prefix) for place, prefixes in enumerate(LAYERS) for prefix in prefixes}
    parts = module.split(".")
    for length in range(len(parts), 0, -1):
        prefix = ".".join(parts[:length])
        if prefix in places:
            return places[prefix]
    raise AssertionError(f"{module} has no place in LAYERS")


@pytest.mark.parametrize("module", sorted(set(MODULES) - _packages()))
def test_modules_stand_on_lower_layers_only(module: str) -> None:
    (mine, name) = room(module)
    for other in imports(module):
        layer, there = room(other)
        assert there == name or layer < mine, f"{module} imports {other}"


def test_no_import_circle() -> None:
    below = {module: imports(module) for module in MODULES}
    while leaves := {module for module, needs in below.items() if not needs & below.keys()}:
        below = {module: needs for module, needs in below.items() if module not in leaves}
    assert not below, f"a circle among {sorted(below)}"


def test_packages_are_named_one_by_one() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    for package in _packages():
        assert f'"{package}"' in text, f"{package} is not packaged"


@pytest.mark.parametrize("module", sorted(MODULES))
def test_modules_are_short_and_say_what_they_are(module: str) -> None:
    text = MODULES[module].read_text(encoding="utf-8")
    assert ast.get_docstring(ast.parse(text))
    assert len(text.splitlines()) <= 260


def test_every_direct_import_is_a_declared_dependency() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    declared = set(re.findall(r'^    "([a-z0-9-]+)', text.partition("\ndependencies = [")[2].partition("\n]")[0], re.M))
    google = {
        "google.api_core": "google-api-core",
        "google.auth": "google-auth",
        "google.cloud.dataflow_v1beta3": "google-cloud-dataflow-client",
        "google.cloud.scheduler_v1": "google-cloud-scheduler",
        "google.cloud.storage": "google-cloud-storage",
        "google.protobuf": "protobuf",
    }
    others = {"PIL": "pillow", "tomllib": "tomli"}
    assert '\ns3 = ["botocore>' in text
    known = {*sys.stdlib_module_names, *PACKAGES}
    for module, path in MODULES.items():
        for name in _imported(ast.parse(path.read_text(encoding="utf-8"))):
            top = name.partition(".")[0]
            if top in known or (top == "botocore" and module.startswith("transforms.storage.s3")):
                continue
            owner = next((wheel for prefix, wheel in google.items() if name.startswith(prefix)), None)
            wheel = owner or others.get(top) or top.replace("_", "-")
            assert wheel in declared or (wheel, name) == ("google", "google.cloud"), f"{module} imports {name}"


def _imported(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names if node.module == "google.cloud")
