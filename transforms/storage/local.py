"""Files on a disk, by path or ``file://`` URI.

A ``file://`` URI is the path behind a prefix: nothing in it is percent-decoded, so every name can be written.
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

# What another attempt does not mend. All else may pass: a network disk that is away, too many open files.
_LASTING = frozenset(
    {
        errno.EACCES,
        errno.EPERM,
        errno.EROFS,
        errno.EEXIST,
        errno.EISDIR,
        errno.ENOTDIR,
        errno.ENAMETOOLONG,
        errno.ELOOP,
        errno.ENXIO,  # a socket
    }
)

# Lasts for what writes. For what reads it is mended without a change of the image, so the next run tries again.
_PERMISSION = frozenset({errno.EACCES, errno.EPERM})


def path_of(uri: str) -> str:
    """``file:///a/b`` or ``file://localhost/a/b`` -> ``/a/b``; a path as it is.

    Raises UsageError for ``file://a/b``, which names a machine and not a folder.
    """
    if not uri.lower().startswith("file://"):
        return uri
    path = uri[len("file://") :].removeprefix("localhost")
    if not path.startswith("/"):
        raise UsageError(f"{uri} names a host; write file:///{path} with three slashes, or the path alone")
    return path


class LocalFiles:
    """``FileSystem`` for paths and ``file://`` URIs.

    Only regular files are read; a fifo or a device is refused and never waited for. Names that start with a
    dot are left out of a walk, and with them what an interrupted write left behind.
    """

    def stat(self, uri: str) -> Stat:
        """URI -> its size and version. Raises NotFound, Unreadable."""
        with _reading(uri):
            return _stat(uri, os.stat(path_of(uri)))  # noqa: PTH116 - pathlib would drop a last slash

    def read(
        self,
        uri: str,
        version: str | None = None,
        max_bytes: int | None = None,
        *,
        size: int | None = None,  # noqa: ARG002 - the open file tells it anyway
    ) -> tuple[bytes, Stat]:
        """URI -> its bytes, which were neither another version before nor overwritten meanwhile."""
        with _reading(uri), _opened(uri) as file:
            before = _stat(uri, os.fstat(file.fileno()))
            if version is not None and before.version != version:
                raise Changed(f"{uri} was overwritten: {version} was listed, {before.version} is there now")
            check_size(before, max_bytes)
            data = file.read(before.size + 1)  # one more, to see that it has not grown
            after = _stat(uri, os.fstat(file.fileno()))
        if after != before or len(data) != before.size:
            raise Changed(
                f"{uri} was overwritten while it was read: from {before.version} to {after.version}",
                version=before.version,
            )
        return data, before

    def open(self, uri: str) -> BinaryIO:
        """URI -> the open file. Raises NotFound, Unreadable."""
        with _reading(uri):
            file = _opened(uri)
            try:
                _stat(uri, os.fstat(file.fileno()))
            except BaseException:
                file.close()
                raise
            return file

    def write(self, uri: str, data: bytes) -> None:
        """Write beside, flush to the disk, rename: ``uri`` is the old file or the new one, come what may."""
        with _writing(uri):
            path = Path(path_of(uri))
            path.parent.mkdir(parents=True, exist_ok=True)
            beside = path.parent / f".{os.getpid()}-{secrets.token_hex(8)}.tmp"
            try:
                with beside.open("xb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                beside.replace(path)
            except BaseException:
                beside.unlink(missing_ok=True)
                raise
            _sync_folder(path.parent)

    def delete(self, uri: str) -> None:
        """Remove a file; it is no error when it is not there."""
        with _writing(uri), suppress(FileNotFoundError, NotADirectoryError):
            Path(path_of(uri)).unlink()

    def write_if(self, uri: str, data: bytes, version: str | None) -> str | None:
        """Write over one version, or with None create a file that is not there -> the new version, or None."""
        with _writing(uri), suppress(FileExistsError), _alone(Path(path_of(uri))) as path:
            if self._version(uri) == version:
                if version is not None:
                    self.write(uri, data)
                else:
                    with path.open("xb") as file:
                        file.write(data)
                return self._version(uri)
        return None

    def delete_if(self, uri: str, version: str) -> bool:
        """Remove a file of one version -> whether it was removed."""
        with _writing(uri), _alone(Path(path_of(uri))) as path:
            if self._version(uri) != version:
                return False
            path.unlink()
            return True

    def written_at(self, uri: str) -> datetime:
        """When a file was last written, by the clock of its file system. Raises NotFound."""
        with _reading(uri):
            return datetime.fromtimestamp(Path(path_of(uri)).stat().st_mtime, timezone.utc)

    def _version(self, uri: str) -> str | None:
        try:
            return self.stat(uri).version
        except NotFound:
            return None

    def half_written(self, prefix: str, *, recursive: bool = True) -> Iterator[str]:
        """What was written beside and never renamed. Links are not followed."""
        for folder, _, names in os.walk(path_of(prefix) or os.curdir):
            yield from (os.path.join(folder, name) for name in names if HALF_WRITTEN.fullmatch(name))  # noqa: PTH118
            if not recursive:
                return

    def walk(self, prefix: str, *, recursive: bool = True) -> Iterator[Stat]:
        """All regular files below ``prefix``, one folder at a time.

        Left out are names that start with a dot, and what vanishes on the way. Links are followed, but into no
        folder that is its own ancestor. Raises Unreadable for a folder that may not be listed.
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
    """What an entry, or the end of a link, is; None for a broken link, or what has vanished."""
    try:
        return entry.stat()
    except OSError as exc:
        if exc.errno in (errno.ENOENT, errno.ELOOP):
            return None
        raise


def _stat(uri: str, status: os.stat_result) -> Stat:
    if stat.S_ISDIR(status.st_mode):
        raise Unreadable(f"{uri} is a folder; {uri.rstrip('/')}/** is all files in it")
    if not stat.S_ISREG(status.st_mode):
        raise Unreadable(f"{uri} is no regular file but a fifo, a socket or a device")
    return Stat(uri, status.st_size, f"{status.st_mtime_ns}-{status.st_size}")


def _opened(uri: str) -> BinaryIO:
    # O_NONBLOCK: to open a fifo would else wait for its writer. Regular files do not know it.
    def opener(path: str, flags: int) -> int:
        return os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY)

    return open(path_of(uri), "rb", opener=opener)  # Path.open takes no opener


@contextmanager
def _alone(path: Path) -> Iterator[Path]:
    """Have ``path`` to oneself among all who ask for it so, by a lock of the kernel on a hidden file beside it.

    Some network disks know no such lock. To create a file is safe there too, as it fails where there is one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f".{path.name}.guard").open("ab") as guard:
        with suppress(OSError):
            fcntl.flock(guard, fcntl.LOCK_EX)
        yield path


def _sync_folder(folder: Path) -> None:
    """Make a rename in ``folder`` outlast a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _reading(uri: str) -> Iterator[None]:
    """Errors of the system -> NotFound or Unreadable."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError) as exc:
        raise NotFound(f"there is no file {uri}") from exc
    except PermissionError as exc:
        raise Unreadable(f"{uri}: {exc.strerror}; let the account that runs this read it") from exc
    except OSError as exc:
        raise Unreadable(f"{uri}: {exc.strerror}", retryable=exc.errno not in _LASTING - _PERMISSION) from exc
    except ValueError as exc:  # NUL, or a character that no file name can hold
        raise Unreadable(f"{uri!r} is no name of a file: {exc}") from exc


@contextmanager
def _writing(uri: str) -> Iterator[None]:
    """Errors of the system -> UsageError where they last, else Unreadable."""
    try:
        yield
    except OSError as exc:
        message = f"cannot write {uri}: {exc.strerror}"
        if exc.errno in _LASTING:
            raise UsageError(f"{message}; give a folder that the account that runs this can write to") from exc
        raise Unreadable(message, retryable=True) from exc
    except ValueError as exc:
        raise UsageError(f"cannot write {uri!r}: {exc}") from exc
