"""The command ``beamsight``, and ``python -m beamsight``.

The packages beside this one have common names. A folder of the user may have a ``transforms.py`` too, and with
``PYTHONPATH=.`` Python finds it first. So the command puts the place of this package before all others.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

_PACKAGES = ("transforms", "pipelines", "runners")


def main() -> None:
    """Run the command, once the packages beside this one are found."""
    here = Path(__file__).resolve().parents[1]
    sys.path.insert(0, str(here))
    for name in _PACKAGES:
        found = importlib.util.find_spec(name)
        origin = Path(found.origin or "") if found else None
        if origin is None or origin.resolve().parent != here / name:
            place = f"is {origin}, which belongs to another package" if origin else "is missing"
            sys.exit(f"beamsight: the package {name} {place}; install beamsight again, in an environment of its own")
    from runners.cli import app

    app.entry()


if __name__ == "__main__":
    main()
