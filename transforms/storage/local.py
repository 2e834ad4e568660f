"""Local files, by path or ``file://`` URI.

A ``file://`` URI is a prefix and a path. The path is not percent-decoded, so a URI can have any file name.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import BinaryIO

from transforms.errors import Changed, NotFound, Unreadable, UsageError
from transforms.storage import whole_file
from transforms.storage.base import ALL_KEYS, HALF_WRITTEN, KeyRange, Stat, check_size, check_version
from transforms.storage.local_errors import reading, writing


def path_of(uri: str) -> str:
    """Return the path of a URI: ``/a/b`` for ``file:///a/b``, ``file://localhost/a/b`` and ``/a/b``.

    Raises:
        UsageError: The URI names another host, as ``file://a/b`` does.
    """
    if not uri.lower().startswith("file://"):
        return uri
    path = uri[len("file://") :].removeprefix("localhost")
    if not path.startswith("/"):
        raise UsageError(f"{uri} names a host; write file:///{path} with three slashes, or only the path")
    return path


class LocalFiles:
    """``FileSystem`` for paths and ``file://`` URIs.

    Only regular files are read. A fifo or a device is refused without waiting for it. A walk omits names that start
    with a dot, and with them the incomplete files of interrupted writes.
    """

    def stat(self, uri: str) -> Stat:
        """Return the size and version of a file. Raises NotFound, Unreadable."""
        with reading(uri):
            return _stat(uri, os.stat(path_of(uri)))  # noqa: PTH116 - pathlib would drop a last slash

    def read(
        self,
        uri: str,
        version: str | None = None,
        max_bytes: int | None = None,
        *,
        size: int | None = None,  # noqa: ARG002 - the open file gives its size
        timeout: float | None = None,  # noqa: ARG002 - a read of a disk cannot be interrupted
    ) -> tuple[bytes, Stat]:
        """Return the bytes of a file. Raises Changed for another version, or if it is overwritten during the read."""
        with reading(uri), _opened(uri) as file:
            before = _stat(uri, os.fstat(file.fileno()))
            check_version(before, version)
            check_size(before, max_bytes)
            data = file.read(before.size + 1)  # one more byte shows whether the file has grown
            after = _stat(uri, os.fstat(file.fileno()))
        if after != before or len(data) != before.size:
            raise Changed(
                f"{uri} was overwritten while it was read: from {before.version} to {after.version}",
                version=before.version,
            )
        return data, before

    def open(self, uri: str, version: str | None = None) -> tuple[BinaryIO, Stat]:
        """Return the open file. Raises Changed, NotFound, Unreadable."""
        with reading(uri):
            file = _opened(uri)
            try:
                found = _stat(uri, os.fstat(file.fileno()))
                check_version(found, version)
            except BaseException:
                file.close()
                raise
            return file, found

    def read_end(self, uri: str, count: int) -> bytes:
        """Return the last bytes of a file."""
        file, stat_ = self.open(uri)
        with reading(uri), file:
            file.seek(max(0, stat_.size - count))
            return file.read()

    def write(self, uri: str, data: bytes) -> None:
        """Write a file as ``create`` does."""
        with self.create(uri) as file:
            file.write(data)

    @contextmanager
    def create(self, uri: str) -> Iterator[BinaryIO]:
        """Write a temporary file, flush it to the disk and rename it, so that ``uri`` is always a complete file."""
        with writing(uri), whole_file.replace(Path(path_of(uri))) as file:
            yield file

    def delete(self, uri: str) -> None:
        """Delete a file. It is no error if it does not exist."""
        with writing(uri), suppress(FileNotFoundError, NotADirectoryError):
            Path(path_of(uri)).unlink()

    def write_if(self, uri: str, data: bytes, version: str | None) -> str | None:
        """See ``FileSystem.write_if``."""
        with writing(uri), whole_file.exclusive(Path(path_of(uri))) as path:
            if self._version(uri) != version:
                return None
            if version is not None:
                self.write(uri, data)
                return self._version(uri)
            with suppress(FileExistsError):
                whole_file.create(path, data)
                return self._version(uri)
        return None

    def delete_if(self, uri: str, version: str) -> bool:
        """See ``FileSystem.delete_if``."""
        with writing(uri), whole_file.exclusive(Path(path_of(uri))) as path:
            if self._version(uri) != version:
                return False
            path.unlink()
            return True

    def written_at(self, uri: str) -> datetime:
        """Return when a file was last written, by the clock of its file system. Raises NotFound."""
        with reading(uri):
            return datetime.fromtimestamp(Path(path_of(uri)).stat().st_mtime, timezone.utc)

    def _version(self, uri: str) -> str | None:
        try:
            return self.stat(uri).version
        except NotFound:
            return None

    def half_written(self, prefix: str, *, recursive: bool = True) -> Iterator[str]:
        """Yield temporary files that were never renamed. Links are not followed."""
        for folder, _, names in os.walk(path_of(prefix) or os.curdir):
            yield from (os.path.join(folder, name) for name in names if HALF_WRITTEN.fullmatch(name))  # noqa: PTH118
            if not recursive:
                return

    def walk(
        self,
        prefix: str,
        *,
        recursive: bool = True,
        keys: KeyRange = ALL_KEYS,
        page: int | None = None,  # noqa: ARG002 - a disk has no pages
    ) -> Iterator[Stat]:
        """Yield all regular files that start with ``prefix``, sorted by URI. Only names of open folders are in memory.

        Names that start with a dot are omitted, and so are files that vanish during the walk. Links are followed,
        except into a folder that contains the link. Raises Unreadable for a folder that cannot be listed.
        """
        folder = prefix[: prefix.rfind("/") + 1]
        for found in _walk(folder, prefix[len(folder) :], recursive, frozenset()):
            if keys.has(found.uri):
                yield found


def _walk(folder: str, start: str, recursive: bool, above: frozenset[tuple[int, int]]) -> Iterator[Stat]:
    """Yield the files of a folder whose names begin with ``start``. above: Device and inode of the folders above it."""
    with reading(folder), suppress(FileNotFoundError, NotADirectoryError):
        path = path_of(folder) or os.curdir
        found = Path(path).stat()
        here = (found.st_dev, found.st_ino)
        if here in above:
            return
        for name in _sorted_names(path, start):
            status = _status(os.path.join(path, name))  # noqa: PTH118 - a Path for each file is slow
            if status is None:
                continue
            if stat.S_ISREG(status.st_mode):
                yield _stat(f"{folder}{name}", status)
            elif stat.S_ISDIR(status.st_mode) and recursive:
                yield from _walk(f"{folder}{name.rstrip('/')}/", "", recursive, above | {here})


def _sorted_names(path: str, start: str) -> list[str]:
    """Return the names in a folder, with a slash after each folder: ``a.b``, ``a/`` and ``a0`` are sorted as URIs."""
    with os.scandir(path) as entries:
        chosen = (entry for entry in entries if entry.name.startswith(start) and not entry.name.startswith("."))
        return sorted(f"{entry.name}/" if _is_folder(entry) else entry.name for entry in chosen)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # such as a link to itself
        return False


def _status(path: str) -> os.stat_result | None:
    """Return the status of a file or of the target of a link. None for a broken link or a vanished file."""
    try:
        return os.stat(path)  # noqa: PTH116 - a Path for each file is slow
    except OSError as exc:
        if exc.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            return None
        raise


def _stat(uri: str, status: os.stat_result) -> Stat:
    if stat.S_ISDIR(status.st_mode):
        raise Unreadable(f"{uri} is a folder; {uri.rstrip('/')}/** matches all files in it")
    if not stat.S_ISREG(status.st_mode):
        raise Unreadable(f"{uri} is not a regular file but a fifo, a socket or a device")
    return Stat(uri, status.st_size, f"{status.st_mtime_ns}-{status.st_size}")


def _opened(uri: str) -> BinaryIO:
    # Without O_NONBLOCK, opening a fifo waits for its writer. It has no effect on regular files.
    def opener(path: str, flags: int) -> int:
        return os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY)

    return open(path_of(uri), "rb", opener=opener)  # Path.open takes no opener
