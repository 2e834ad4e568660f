"""The command ``beamsight``, and ``python -m beamsight``.

The packages beside this one have common names. A user may have a ``transforms.py`` too, which Python finds first with
``PYTHONPATH=.``. So the command puts the place of this package before all others. Where another distribution has
overwritten one of the packages all the same, the command says which.
"""

from __future__ import annotations

import importlib.util
import sys
from importlib import metadata
from pathlib import Path

# A module of ours in each package, which a package of somebody else does not have.
_OURS = {"transforms": "errors.py", "pipelines": "catalog.py", "runners": "cli/app.py"}

_RUN_FAILED = 3


def main() -> None:
    """Run the command."""
    here = Path(__file__).resolve().parents[1]
    sys.path.insert(0, str(here))
    for name, module in _OURS.items():
        found = importlib.util.find_spec(name)
        if found is None or not Path(found.origin or "").resolve().parent.joinpath(module).is_file():
            print(_explain(name, found.origin if found else None), file=sys.stderr)
            sys.exit(_RUN_FAILED)
    from runners.cli import app

    app.entry()


def _explain(name: str, place: str | None) -> str:
    owners = {each.name for each in metadata.distributions() for file in each.files or () if file.parts[0] == name}
    others = sorted(owners - {"beamsight"})
    whose = f"belongs to {' and '.join(others)}" if others else f"is {place}" if place else "is missing"
    return (
        f"beamsight: the package {name} {whose}, and not to beamsight; install beamsight in an environment of its own"
    )


if __name__ == "__main__":
    main()
