"""Files on azfs:// and, with limits, hdfs://, through ``apache_beam.io.filesystems``.

Beam is imported on first use. The import takes seconds, and ``beamsight.load`` reads other files without Beam.
"""

from __future__ import annotations

import importlib
import io
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from typing import Any, BinaryIO, Literal

from transforms.errors import BeamsightError, Changed, NotFound, Unreadable, UsageError
from transforms.storage.base import ALL_KEYS, HALF_WRITTEN, KeyRange, Stat, check_size, check_version, spool

# Beam registers a scheme even if its module is not installed. By scheme: the module, and the extra that installs it.
_NEEDS = {"azfs": ("azure.storage.blob", "azure"), "hdfs": ("hdfs", "hadoop")}
_PIECE = 1 << 20  # bytes
_UNCOMPRESSED: dict[str, Any] = {"compression_type": "uncompressed"}  # Beam's CompressionTypes.UNCOMPRESSED


def schemes() -> frozenset[str]:
    """Return the schemes that Beam supports, whether their modules are installed or not."""
    from apache_beam.io import filesystems  # noqa: F401 - it loads the file systems of all schemes
    from apache_beam.io.filesystem import FileSystem as BeamFileSystem

    return frozenset(found for system in BeamFileSystem.get_all_subclasses() if (found := system.scheme()))


class BeamFiles:
    """``FileSystem`` for the schemes that Beam supports.

    A version is ``<mtime in seconds>-<size>``. Beam lists one folder of hdfs:// at a time, so a recursive walk is
    refused there. Files that a manifest names can still be read.
    """

    def stat(self, uri: str) -> Stat:
        """Return the size and version of a file. Wildcards in its name are literal. Raises NotFound, Unreadable."""
        with _errors(uri):
            return _stat_of(_system(uri).metadata(uri))

    def read(
        self,
        uri: str,
        version: str | None = None,
        max_bytes: int | None = None,
        *,
        size: int | None = None,  # noqa: ARG002 - the metadata is requested anyway
        timeout: float | None = None,  # noqa: ARG002 - Beam's file systems take none
    ) -> tuple[bytes, Stat]:
        """Return the bytes of a file. The metadata is checked before and after, because Beam cannot read a version."""
        before = self.stat(uri)
        check_version(before, version)
        check_size(before, max_bytes)
        data = io.BytesIO()
        for piece in self._pieces(before):
            data.write(piece)
        return data.getvalue(), before

    def open(self, uri: str, version: str | None = None) -> tuple[BinaryIO, Stat]:
        """Return a stream of the stored bytes. Names such as ``.gz`` do not cause decompression.

        Only the length of the copy is verified, because Beam's file systems have no common checksum.
        """
        file = self.stat(uri)
        check_version(file, version)
        return spool(file, self._pieces(file)), file

    def _pieces(self, before: Stat) -> Iterator[bytes]:
        """Yield the bytes of a file. Raises Changed if they are not those of ``before``."""
        count = 0
        with _errors(before.uri), _system(before.uri).open(before.uri, **_UNCOMPRESSED) as file:
            while piece := file.read(_PIECE):
                count += len(piece)
                yield piece
                if count > before.size:
                    break
        after = self.stat(before.uri)
        if after != before or count != before.size:
            raise Changed(
                f"{before.uri} was overwritten while it was read: {count:,} bytes arrived of {before.size:,}, and "
                f"version {before.version} is now {after.version}",
                version=before.version,
            )

    def read_end(self, uri: str, count: int) -> bytes:
        """Return the last bytes of a file."""
        size = self.stat(uri).size
        with _errors(uri), _system(uri).open(uri, **_UNCOMPRESSED) as file:
            file.seek(max(0, size - count))
            data: bytes = file.read()
        return data

    def write(self, uri: str, data: bytes) -> None:
        """Write a file as ``create`` does."""
        with self.create(uri) as file:
            file.write(data)

    @contextmanager
    def create(self, uri: str) -> Iterator[BinaryIO]:
        """Write a temporary file and rename it. Raises Unreadable for any error: Beam does not distinguish them."""
        folder, slash, _ = uri.rpartition("/")
        temporary = f"{folder}{slash}.{os.getpid()}-{secrets.token_hex(8)}.tmp"
        with _errors(uri, "write"):
            system = _system(uri)
            try:
                with system.create(temporary, **_UNCOMPRESSED) as file:
                    yield file
                if system.scheme() == "hdfs" and system.exists(uri):
                    system.delete([uri])  # a rename on hdfs:// does not overwrite
                system.rename([temporary], [uri])
            except BaseException:
                if system.exists(temporary):
                    system.delete([temporary])
                raise

    def delete(self, uri: str) -> None:
        """Delete a file. It is no error if it does not exist. Raises UsageError for a name with wildcards."""
        if re.search(r"[*?[]", uri):
            raise UsageError(
                f"cannot delete {uri}: Beam would delete all files that match its wildcards; rename the file"
            )
        with _errors(uri, "delete"):
            system = _system(uri)
            if system.exists(uri):
                system.delete([uri])

    def write_if(self, uri: str, data: bytes, version: str | None) -> str | None:
        """See ``FileSystem.write_if``. It takes several steps, because Beam has no conditional write."""
        if self._version(uri) != version:
            return None
        self.write(uri, data)
        return self.stat(uri).version if self.read(uri)[0] == data else None

    def delete_if(self, uri: str, version: str) -> bool:
        """See ``FileSystem.delete_if``. It takes two steps, because Beam has no conditional delete."""
        if self._version(uri) != version:
            return False
        self.delete(uri)
        return True

    def written_at(self, uri: str) -> datetime:
        """Return when a file was last written, to the second. Raises NotFound, Unreadable."""
        with _errors(uri):
            return datetime.fromtimestamp(_system(uri).metadata(uri).last_updated_in_seconds, timezone.utc)

    def _version(self, uri: str) -> str | None:
        try:
            return self.stat(uri).version
        except NotFound:
            return None

    def walk(
        self,
        prefix: str,
        *,
        recursive: bool = True,
        keys: KeyRange = ALL_KEYS,
        page: int | None = None,  # noqa: ARG002 - Beam lists all files at once
    ) -> Iterator[Stat]:
        """Yield the files that start with ``prefix``, except incomplete ones. Raises UsageError on hdfs://."""
        for found, rest in self._below(prefix, recursive):
            if not re.search(r"(^|/)\.[^/]*\.tmp$", rest) and keys.has(found.path):
                yield _stat_of(found)

    def half_written(self, prefix: str, *, recursive: bool = True) -> Iterator[str]:
        """Yield temporary files that were never renamed; none on hdfs://, where Beam cannot walk."""
        if prefix.startswith("hdfs://"):
            return
        for found, rest in self._below(prefix, recursive):
            if HALF_WRITTEN.fullmatch(rest.rpartition("/")[2]):
                yield found.path

    def _below(self, prefix: str, recursive: bool) -> Iterator[tuple[Any, str]]:
        # Beam cannot escape a wildcard, so one in the prefix becomes ?, and the comparison below removes other matches.
        pattern = re.sub(r"[*?[]", "?", prefix) + "**"
        with _errors(prefix, "list"):
            system = _system(prefix)
            if recursive and system.scheme() == "hdfs":
                raise UsageError(f"{prefix}: Beam cannot list hdfs:// recursively; pass a manifest of the files")
            for found in system.match([pattern])[0].metadata_list:
                rest = found.path.removeprefix(prefix)
                if rest == found.path or rest.endswith("/") or (not recursive and "/" in rest):
                    continue
                yield found, rest


def check(uri: str) -> None:
    """Raise UsageError if the module for this scheme is not installed or not configured."""
    with _errors(uri):
        _system(uri)


def _system(uri: str) -> Any:
    from apache_beam.io.filesystems import FileSystems

    module, extra = _NEEDS.get(uri.partition("://")[0].lower(), ("apache_beam", ""))
    try:
        importlib.import_module(module)
        return FileSystems.get_filesystem(uri)
    except ImportError as exc:
        raise UsageError(f"{uri} needs the module {module}: pip install 'apache-beam[{extra}]'") from exc
    except ValueError as exc:  # an option such as --hdfs_host is missing
        raise UsageError(f"{uri} cannot be reached: {exc}") from exc


def _stat_of(found: Any) -> Stat:
    return Stat(found.path, found.size_in_bytes, f"{int(found.last_updated_in_seconds)}-{found.size_in_bytes}")


@contextmanager
def _errors(uri: str, doing: Literal["read", "write", "delete", "list"] = "read") -> Iterator[None]:
    """Convert any error to NotFound if a file to read does not exist, or to Unreadable.

    Beam's file systems have no common errors, so all of them count as transient. Errors of beamsight are kept.
    """
    try:
        yield
    except BeamsightError:
        raise
    except Exception as exc:
        if doing == "read" and _is_missing(uri):
            raise NotFound(f"there is no {uri}") from exc
        raise Unreadable(f"cannot {doing} {uri}: {type(exc).__name__}: {exc}", retryable=True) from exc


def _is_missing(uri: str) -> bool:
    try:
        return not _system(uri).exists(uri)
    except Exception:  # without a response, the file may exist
        return False
