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
    real = lru_cache(1)(os.path.realpath)  # A walk stays in one folder for long.

    def canonical(uri: str) -> str:
        if files.is_local(uri):
            folder, _, name = local.path_of(uri).rpartition("/")
            return os.path.join(real(folder or "/"), name)  # noqa: PTH118 - pathlib drops a last slash
        scheme, separator, rest = uri.partition("://")
        return scheme.lower() + separator + rest

    names = frozenset(map(canonical, map(files.absolute, leave_out)))
    folders = tuple(name for name in names if name.endswith("/"))

    def matches(uri: str) -> bool:
        name = canonical(uri)
        return name in names or name.startswith(folders)

    return matches
