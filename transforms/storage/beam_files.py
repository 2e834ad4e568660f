"""Files of every other kind, through ``apache_beam.io.filesystems``: s3://, azfs://, and hdfs:// in part."""

from __future__ import annotations

import importlib
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from typing import Any, BinaryIO, Literal

from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystem import FileSystem as BeamFileSystem
from apache_beam.io.filesystems import FileSystems

from transforms.errors import BeamsightError, Changed, NotFound, Unreadable, UsageError
from transforms.storage.base import HALF_WRITTEN, Stat, check_size

# Beam knows a scheme before what it needs is there: the module to be imported, and the extra that brings it.
_NEEDS = {"s3": ("boto3", "aws"), "azfs": ("azure.storage.blob", "azure"), "hdfs": ("hdfs", "hadoop")}
_AS_IT_IS: dict[str, Any] = {"compression_type": CompressionTypes.UNCOMPRESSED}


def schemes() -> frozenset[str]:
    """The schemes that Beam has a file system for, installed or not."""
    return frozenset(found for system in BeamFileSystem.get_all_subclasses() if (found := system.scheme()))


class BeamFiles:
    """``FileSystem`` for what Beam's file systems know.

    A version is ``<mtime in seconds>-<size>``. Beam lists one folder of hdfs:// at a time, so a walk of all below it
    is refused there; what is in a manifest can still be read.
    """

    def stat(self, uri: str) -> Stat:
        """URI -> its size and version. Wildcards in a name mean themselves. Raises NotFound, Unreadable."""
        with _errors(uri):
            return _stat_of(_system(uri).metadata(uri))

    def read(
        self,
        uri: str,
        version: str | None = None,
        max_bytes: int | None = None,
        *,
        size: int | None = None,  # noqa: ARG002 - the metadata is asked for anyway
    ) -> tuple[bytes, Stat]:
        """URI -> its bytes, after one look at its metadata and before another, since Beam pins no version."""
        before = self.stat(uri)
        if version is not None and before.version != version:
            raise Changed(f"{uri} was overwritten: {version} was listed, {before.version} is there now")
        check_size(before, max_bytes)
        with self.open(uri) as file, _errors(uri):
            data = file.read(before.size + 1)  # one more, to see that it has not grown
        after = self.stat(uri)
        if after != before or len(data) != before.size:
            raise Changed(
                f"{uri} was overwritten while it was read: from {before.version} to {after.version}",
                version=before.version,
            )
        return data, before

    def open(self, uri: str) -> BinaryIO:
        """URI -> a stream of the bytes as they are stored, whatever the name ends in."""
        with _errors(uri):
            stream: BinaryIO = _system(uri).open(uri, **_AS_IT_IS)
            return stream

    def write(self, uri: str, data: bytes) -> None:
        """Write beside, then rename. Raises Unreadable when that fails, for whatever reason: Beam does not say."""
        folder, slash, _ = uri.rpartition("/")
        beside = f"{folder}{slash}.{os.getpid()}-{secrets.token_hex(8)}.tmp"
        with _errors(uri, "write"):
            system = _system(uri)
            try:
                with system.create(beside, **_AS_IT_IS) as file:
                    file.write(data)
                if system.scheme() == "hdfs" and system.exists(uri):
                    system.delete([uri])  # it renames onto nothing that is there
                system.rename([beside], [uri])
            except BaseException:
                if system.exists(beside):
                    system.delete([beside])
                raise

    def delete(self, uri: str) -> None:
        """Remove a file; it is no error when it is not there. Raises UsageError for a name with wildcards."""
        if re.search(r"[*?[]", uri):
            raise UsageError(f"cannot delete {uri}: Beam would delete all that it matches")
        with _errors(uri, "delete"):
            system = _system(uri)
            if system.exists(uri):
                system.delete([uri])

    def write_if(self, uri: str, data: bytes, version: str | None) -> str | None:
        """Look, write, look again -> the new version, or None: Beam has no condition that would make it one step."""
        if self._version(uri) != version:
            return None
        self.write(uri, data)
        return self.stat(uri).version if self.read(uri)[0] == data else None

    def delete_if(self, uri: str, version: str) -> bool:
        """Look, and remove a file of this version -> whether it was removed."""
        if self._version(uri) != version:
            return False
        self.delete(uri)
        return True

    def written_at(self, uri: str) -> datetime:
        """When a file was last written, to the second. Raises NotFound, Unreadable."""
        with _errors(uri):
            return datetime.fromtimestamp(_system(uri).metadata(uri).last_updated_in_seconds, timezone.utc)

    def _version(self, uri: str) -> str | None:
        try:
            return self.stat(uri).version
        except NotFound:
            return None

    def walk(self, prefix: str, *, recursive: bool = True) -> Iterator[Stat]:
        """All files below ``prefix``, without what an interrupted write left. Raises UsageError on hdfs://."""
        for found, rest in self._below(prefix, recursive):
            if not re.search(r"(^|/)\.[^/]*\.tmp$", rest):
                yield _stat_of(found)

    def half_written(self, prefix: str, *, recursive: bool = True) -> Iterator[str]:
        """What was written beside and never renamed; nothing on hdfs://, whose folders Beam lists one at a time."""
        if prefix.startswith("hdfs://"):
            return
        for found, rest in self._below(prefix, recursive):
            if HALF_WRITTEN.fullmatch(rest.rpartition("/")[2]):
                yield found.path

    def _below(self, prefix: str, recursive: bool) -> Iterator[tuple[Any, str]]:
        # Beam cannot quote a wildcard: one in the prefix matches any character here, and is compared below.
        pattern = re.sub(r"[*?[]", "?", prefix) + "**"
        with _errors(prefix, "list"):
            system = _system(prefix)
            if recursive and system.scheme() == "hdfs":
                raise UsageError(f"{prefix}: Beam lists one folder of hdfs:// at a time; list the files in a manifest")
            for found in system.match([pattern])[0].metadata_list:
                rest = found.path.removeprefix(prefix)
                if rest == found.path or rest.endswith("/") or (not recursive and "/" in rest):
                    continue
                yield found, rest


def check(uri: str) -> None:
    """Raise UsageError when what Beam needs for this scheme is not installed or not set up."""
    with _errors(uri):
        _system(uri)


def _system(uri: str) -> Any:
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
    """Whatever a file system raises -> NotFound for a file to be read that is not there, else Unreadable.

    They have no errors in common, so all are caught and taken to be passing; errors of ours go through.
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
    except Exception:  # it does not answer: then it is not known to be missing
        return False
