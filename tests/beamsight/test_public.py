"""The public names, their signatures and the columns of rows are what ``public_names.txt`` says.

A change of that file is a change for users, and belongs in CHANGELOG.md. This prints the file anew:

    python tests/beamsight/test_public.py > tests/beamsight/public_names.txt
"""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import beamsight

EXPECTED = Path(__file__).with_name("public_names.txt")

# What a process has that an import could change, besides modules.
_STATE = """
import json, logging, os, signal, sys, threading, time, warnings
def state():
    return {
        "environment": dict(os.environ),
        "handlers": [str(signal.getsignal(number)) for number in (signal.SIGINT, signal.SIGTERM)],
        "loggers": [logging.root.level, len(logging.root.handlers)],
        "warnings": list(map(str, warnings.filters)),
        "threads": threading.active_count(),
        "folder": os.getcwd(),
        "path": list(sys.path),
    }
before = state()
modules = set(sys.modules)
start = time.perf_counter()
import beamsight
seconds = time.perf_counter() - start
loaded = sorted({name.partition(".")[0] for name in set(sys.modules) - modules} - set(sys.stdlib_module_names))
print(json.dumps([seconds, before == state(), loaded]))
"""


def describe(name: str) -> str:
    """A public name with its parameters or columns, one a line, and its own methods."""
    value = getattr(beamsight, name)
    if isinstance(value, str):
        return f"{name}: str"
    if hasattr(value, "_fields"):
        return "\n".join([f"{name}, a named tuple", *(f"    {_field(value, field)}" for field in value._fields)])
    if not inspect.isclass(value):
        return "\n".join(_signature(name, value))
    own = [method for method in vars(value).values() if inspect.isfunction(method) and _is_own(value, method.__name__)]
    return "\n".join(
        [*_signature(name, value), *(line for each in own for line in _signature(each.__qualname__, each))]
    )


def _is_own(kind: type, method: str) -> bool:
    return not method.startswith("_") and not any(hasattr(base, method) for base in kind.__bases__)


def _signature(name: str, value: Any) -> list[str]:
    lines = [name]
    parameters = [each for each in inspect.signature(value).parameters.values() if each.name != "self"]
    for number, parameter in enumerate(parameters):
        if parameter.kind is parameter.KEYWORD_ONLY and parameters[number - 1].kind is not parameter.KEYWORD_ONLY:
            lines.append("    *")
        lines.append(f"    {str(parameter).replace(chr(39), '')}")
    return lines


def _field(kind: Any, field: str) -> str:
    type_ = kind.__annotations__[field]
    text = getattr(type_, "__forward_arg__", None) or inspect.formatannotation(type_)
    default = f" = {kind._field_defaults[field]}" if field in kind._field_defaults else ""
    return f"{field}: {text.replace('transforms.records.', '')}{default}"


def text() -> str:
    return "\n".join(describe(name) for name in beamsight.__all__) + "\n"


def test_names_signatures_and_columns_are_as_expected() -> None:
    assert text() == EXPECTED.read_text(encoding="utf-8")


def test_all_is_sorted_and_exact() -> None:
    assert beamsight.__all__ == sorted(set(beamsight.__all__))
    assert dir(beamsight) == beamsight.__all__
    assert {name for name in vars(beamsight) if not name.startswith("_")} <= {
        *beamsight.__all__,
        *(path.stem for path in Path(beamsight.__file__).parent.iterdir()),
        "Any",
        "TYPE_CHECKING",
        "annotations",
        "importlib",
    }


def test_an_unknown_name_is_an_attribute_error() -> None:
    assert not hasattr(beamsight, "Embed")


def test_each_public_name_has_a_docstring() -> None:
    for name in beamsight.__all__:
        if name != "__version__":
            assert str(getattr(beamsight, name).__doc__).strip(), name


def test_importing_is_quick_and_changes_nothing() -> None:
    found = [
        json.loads(subprocess.run([sys.executable, "-c", _STATE], capture_output=True, text=True, check=True).stdout)
        for _ in range(3)
    ]
    assert min(seconds for seconds, _, _ in found) < 0.3
    assert all(same for _, same, _ in found)
    assert {name for _, _, loaded in found for name in loaded} == {"beamsight"}


if __name__ == "__main__":
    sys.stdout.write(text())
