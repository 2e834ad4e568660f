"""Local files that appear whole or not at all, also if the disk is full or the process is killed."""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO


@contextmanager
def replace(path: Path) -> Iterator[BinaryIO]:
    """Return a file to write to in a ``with`` block. Its end creates or replaces ``path``. Creates folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with _temporary(path) as (temporary, file):
        yield file
        _flush(file)
        temporary.replace(path)


def create(path: Path, data: bytes) -> None:
    """Create a file. Raises FileExistsError if it exists."""
    with _temporary(path) as (temporary, written):
        written.write(data)
        _flush(written)
        try:
            path.hardlink_to(temporary)
        except FileExistsError:
            raise
        except OSError:  # The file system has no hard links. Without them, a killed process can leave a part of a file.
            with path.open("xb") as file:
                file.write(data)


@contextmanager
def exclusive(path: Path) -> Iterator[Path]:
    """Hold an exclusive lock for ``path``: a kernel lock on a hidden file in the same folder.

    Some network disks do not support such locks. ``create`` is safe there too: it fails if the file exists.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f".{path.name}.guard").open("ab") as guard:
        with suppress(OSError):
            fcntl.flock(guard, fcntl.LOCK_EX)
        yield path


@contextmanager
def _temporary(path: Path) -> Iterator[tuple[Path, BinaryIO]]:
    """Open a file beside ``path``, which the block renames or links. Then flush that to the disk."""
    temporary = path.parent / f".{os.getpid()}-{secrets.token_hex(8)}.tmp"
    try:
        with temporary.open("xb") as file:
            yield temporary, file
    finally:
        temporary.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _flush(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())
