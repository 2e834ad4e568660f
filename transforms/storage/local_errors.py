"""Errors of local files: which are permanent, and what each becomes."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from transforms.errors import NotFound, Unreadable, UsageError

# Permanent errors; ENXIO is a socket. All others may be transient: an unavailable network disk, too many open files.
_PERMANENT = frozenset(
    {errno.EROFS, errno.EEXIST, errno.EISDIR, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.ENXIO}
)


@contextmanager
def reading(uri: str) -> Iterator[None]:
    """Convert errors of the system to NotFound or Unreadable."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError) as exc:
        raise NotFound(f"there is no file {uri}") from exc
    except PermissionError as exc:
        # Granting the permission does not change the file, so the next run retries.
        remedy = "give the account of this process permission to read it"
        raise Unreadable(f"{uri}: {exc.strerror}; {remedy}", retryable=True) from exc
    except OSError as exc:
        raise Unreadable(f"{uri}: {exc.strerror}", retryable=exc.errno not in _PERMANENT) from exc
    except ValueError as exc:  # NUL, or a character that no file name can hold
        raise Unreadable(f"{uri!r} is not a valid file name: {exc}") from exc


@contextmanager
def writing(uri: str) -> Iterator[None]:
    """Convert errors of the system to UsageError if they are permanent, else to Unreadable."""
    try:
        yield
    except OSError as exc:
        message = f"cannot write {uri}: {exc.strerror}"
        if isinstance(exc, PermissionError) or exc.errno in _PERMANENT:
            raise UsageError(f"{message}; choose a folder that the account of this process can write to") from exc
        raise Unreadable(message, retryable=True) from exc
    except ValueError as exc:
        raise UsageError(f"cannot write {uri!r}: {exc}") from exc
