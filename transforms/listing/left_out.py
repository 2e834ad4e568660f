"""Tell which of the listed files belong to the output, and so are no images."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import lru_cache

from transforms.storage import files, local


def matcher(leave_out: Sequence[str]) -> Callable[[str], bool]:
    """Return a function that tells whether a URI is one of these files, or is in one of these folders.

    Args:
        leave_out: Files, and folders with a slash at the end.
    """
    if not leave_out:
        return lambda _: False
    names = frozenset(map(_canonical, map(files.absolute, leave_out)))
    folders = tuple(name for name in names if name.endswith("/"))

    @lru_cache(1)  # A walk stays in one folder for long.
    def look_at(folder: str) -> tuple[str, bool]:
        prefix = _canonical(f"{folder}/")
        return prefix, prefix.startswith(folders)

    def matches(uri: str) -> bool:
        folder, _, name = uri.rpartition("/")
        prefix, is_inside = look_at(folder)
        return is_inside or prefix + name in names

    return matches


def _canonical(uri: str) -> str:
    """Return a URI without links to folders, and with its scheme in lower case."""
    if files.is_local(uri):
        folder, _, name = local.path_of(uri).rpartition("/")
        return os.path.join(os.path.realpath(folder or "/"), name)  # noqa: PTH118 - pathlib drops a last slash
    scheme, separator, rest = uri.partition("://")
    return scheme.lower() + separator + rest
