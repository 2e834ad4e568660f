"""The rights of an account that is not root's."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_NOBODY = 65534


@contextmanager
def without_root(folder: Path) -> Iterator[None]:
    """Work in a folder without root's rights. Only relative paths lead there, for other folders belong to root."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        if os.geteuid() != 0:
            yield
            return
        folder.chmod(0o755)
        os.seteuid(_NOBODY)
        try:
            yield
        finally:
            os.seteuid(0)
    finally:
        os.chdir(before)
