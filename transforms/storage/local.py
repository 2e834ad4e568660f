"""Local files, by path or ``file://`` URI.

A ``file://`` URI is a prefix and a path. The path is not percent-decoded, so a URI can have any file name.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import BinaryIO

from transforms.errors import Changed, NotFound, Unreadable, UsageError
from transforms.storage.base import HALF_WRITTEN, Stat, check_size

# Permanent for writes. A read is retried by the next run: granting the permission does not change the file.
_PERMISSION = frozenset({errno.EACCES, errno.EPERM})

# Permanent errors; ENXIO is a socket. All others may be transient: an unavailable network disk, too many open files.
_PERMANENT = (
    _PERMISSION
    | {errno.EROFS, errno.EEXIST, errno.EISDIR, errno.ENOTDIR}
    | {errno.ENAMETOOLONG, errno.ELOOP, errno.ENXIO}
)


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
        with _reading(uri):
            return _stat(uri, os.stat(path_of(uri)))  # noqa: PTH116 - pathlib would drop a last slash

    def read(
        self,
        uri: str,
        version: str | None = None,
        max_bytes: int | None = None,
        *,
        size: int | None = None,  # noqa: ARG002 - the open file gives its size
    ) -> tuple[bytes, Stat]:
        """Return the bytes of a file. Raises Changed for another version, or if it is overwritten during the read."""
        with _reading(uri), _opened(uri) as file:
            before = _stat(uri, os.fstat(file.fileno()))
            if version is not None and before.version != version:
                raise Changed(
                    f"{uri} was overwritten: version {version} was listed, the current version is {before.version}"
                )
            check_size(before, max_bytes)
            data = file.read(before.size + 1)  # one more byte shows whether the file has grown
            after = _stat(uri, os.fstat(file.fileno()))
        if after != before or len(data) != before.size:
            raise Changed(
                f"{uri} was overwritten while it was read: from {before.version} to {after.version}",
                version=before.version,
            )
        return data, before

    def open(self, uri: str) -> BinaryIO:
        """Return the open file. Raises NotFound, Unreadable."""
        with _reading(uri):
            file = _opened(uri)
            try:
                _stat(uri, os.fstat(file.fileno()))
            except BaseException:
                file.close()
                raise
            return file

    def write(self, uri: str, data: bytes) -> None:
        """Write a file as ``create`` does."""
        with self.create(uri) as file:
            file.write(data)

    @contextmanager
    def create(self, uri: str) -> Iterator[BinaryIO]:
        """Write a temporary file, flush it to the disk and rename it, so that ``uri`` is always a complete file."""
        with _writing(uri):
            path = Path(path_of(uri))
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = path.parent / f".{os.getpid()}-{secrets.token_hex(8)}.tmp"
            try:
                with temporary.open("xb") as file:
                    yield file
                    file.flush()
                    os.fsync(file.fileno())
                temporary.replace(path)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
            _sync_folder(path.parent)

    def delete(self, uri: str) -> None:
        """Delete a file. It is no error if it does not exist."""
        with _writing(uri), suppress(FileNotFoundError, NotADirectoryError):
            Path(path_of(uri)).unlink()

    def write_if(self, uri: str, data: bytes, version: str | None) -> str | None:
        """See ``FileSystem.write_if``."""
        with _writing(uri), suppress(FileExistsError), _exclusive(Path(path_of(uri))) as path:
            if self._version(uri) == version:
                if version is not None:
                    self.write(uri, data)
                else:
                    with path.open("xb") as file:
                        file.write(data)
                return self._version(uri)
        return None

    def delete_if(self, uri: str, version: str) -> bool:
        """See ``FileSystem.delete_if``."""
        with _writing(uri), _exclusive(Path(path_of(uri))) as path:
            if self._version(uri) != version:
                return False
            path.unlink()
            return True

    def written_at(self, uri: str) -> datetime:
        """Return when a file was last written, by the clock of its file system. Raises NotFound."""
        with _reading(uri):
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

    def walk(self, prefix: str, *, recursive: bool = True) -> Iterator[Stat]:
        """Yield all regular files below ``prefix``, one folder at a time.

        Names that start with a dot are omitted, and so are files that vanish during the walk. Links are followed,
        except into a folder that contains the link. Raises Unreadable for a folder that cannot be listed.
        """
        folders: list[tuple[str, frozenset[tuple[int, int]]]] = [(prefix, frozenset())]
        while folders:
            uri, above = folders.pop()
            path = path_of(uri) or os.curdir
            with _reading(uri), suppress(FileNotFoundError, NotADirectoryError), os.scandir(path) as entries:
                found = Path(path).stat()
                here = (found.st_dev, found.st_ino)
                if here in above:
                    continue
                for entry in entries:
                    status = None if entry.name.startswith(".") else _status(entry)
                    if status is None:
                        continue
                    if stat.S_ISREG(status.st_mode):
                        yield _stat(f"{uri}{entry.name}", status)
                    elif stat.S_ISDIR(status.st_mode) and recursive:
                        folders.append((f"{uri}{entry.name}/", above | {here}))


def _status(entry: os.DirEntry[str]) -> os.stat_result | None:
    """Return the status of an entry or of the target of a link. None for a broken link or a vanished file."""
    try:
        return entry.stat()
    except OSError as exc:
        if exc.errno in (errno.ENOENT, errno.ELOOP):
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


@contextmanager
def _exclusive(path: Path) -> Iterator[Path]:
    """Hold an exclusive lock for ``path``: a kernel lock on a hidden file in the same folder.

    Some network disks do not support such locks. Creating a file is safe there too: it fails if the file exists.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f".{path.name}.guard").open("ab") as guard:
        with suppress(OSError):
            fcntl.flock(guard, fcntl.LOCK_EX)
        yield path


def _sync_folder(folder: Path) -> None:
    """Make a rename in ``folder`` durable in case of a power failure."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _reading(uri: str) -> Iterator[None]:
    """Convert errors of the system to NotFound or Unreadable."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError) as exc:
        raise NotFound(f"there is no file {uri}") from exc
    except PermissionError as exc:
        raise Unreadable(f"{uri}: {exc.strerror}; give the account of this process permission to read it") from exc
    except OSError as exc:
        raise Unreadable(f"{uri}: {exc.strerror}", retryable=exc.errno not in _PERMANENT - _PERMISSION) from exc
    except ValueError as exc:  # NUL, or a character that no file name can hold
        raise Unreadable(f"{uri!r} is not a valid file name: {exc}") from exc


@contextmanager
def _writing(uri: str) -> Iterator[None]:
    """Convert errors of the system to UsageError if they are permanent, else to Unreadable."""
    try:
        yield
    except OSError as exc:
        message = f"cannot write {uri}: {exc.strerror}"
        if exc.errno in _PERMANENT:
            raise UsageError(f"{message}; choose a folder that the account of this process can write to") from exc
        raise Unreadable(message, retryable=True) from exc
    except ValueError as exc:
        raise UsageError(f"cannot write {uri!r}: {exc}") from exc
