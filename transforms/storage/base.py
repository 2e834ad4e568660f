"""The interface of all file systems."""

from __future__ import annotations

import io
import re
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, BinaryIO, NamedTuple, Protocol, cast

from transforms.errors import Changed, TooManyBytes, UsageError

_IN_MEMORY = 8 << 20  # bytes of an open file

HALF_WRITTEN = re.compile(r"\.[0-9]+-[0-9a-f]{16}\.tmp")  # beside the target; a rename makes the file complete


@dataclass(frozen=True, slots=True)
class Stat:
    """A file.

    Attributes:
        uri: The URI as a user writes it.
        size: The number of stored bytes.
        version: The generation on gs://, the ETag on s3://, ``<mtime_ns>-<size>`` on a local disk, the ETag or another
            value of the response on https:// (see ``web.WebFiles``), ``<mtime>-<size>`` elsewhere. It changes whenever
            the content changes. A listing and ``stat`` give the same version.
    """

    uri: str
    size: int
    version: str


class KeyRange(NamedTuple):
    """The URIs from ``start`` up to ``end``, in the order of their characters. ``end`` is not included.

    This is also the order of their UTF-8 bytes, in which gs:// and s3:// list objects. None as the end means no end.
    """

    start: str = ""
    end: str | None = None

    def has(self, uri: str) -> bool:
        """Return whether a URI is in the range."""
        return self.start <= uri and (self.end is None or uri < self.end)


ALL_KEYS = KeyRange()


class FileSystem(Protocol):
    """Files by URI. All methods are thread-safe.

    Methods raise only ``NotFound`` and other subclasses of ``FetchError``, and ``UsageError``. A ``UsageError`` needs
    an action of the user: the URI is invalid, or credentials or the permission to write are missing.
    """

    def stat(self, uri: str) -> Stat:
        """Return the size and version of a file. Raises NotFound."""

    def read(
        self,
        uri: str,
        version: str | None = None,
        max_bytes: int | None = None,
        *,
        size: int | None = None,
        timeout: float | None = None,
    ) -> tuple[bytes, Stat]:
        """Return all bytes of a file, and the size and version of these bytes.

        Args:
            uri: The file.
            version: The version to read. None for the current version.
            max_bytes: Maximum size. It is checked before the download if the size is known by then.
            size: The listed size of ``version``. With both, gs:// needs one request instead of two.
            timeout: Maximum number of seconds on gs://, s3:// and https://, over all attempts. None for the limits of
                the file system.

        Raises:
            Changed: The file has another version.
            TooManyBytes: The file is larger than ``max_bytes``.
            NotFound: The file does not exist.
        """

    def open(self, uri: str, version: str | None = None) -> tuple[BinaryIO, Stat]:
        """Return a seekable binary stream of a file, which does not hold a large file in memory, and what it streams.

        From other machines, the whole file is copied and verified first. No caller sees a byte of a file that is cut
        short or damaged on its way.

        Raises:
            Changed: The file has another version than ``version``.
            NotFound: The file does not exist.
        """

    def read_end(self, uri: str, count: int) -> bytes:
        """Return the last ``count`` bytes of a file, or all of a smaller one. Only their number is verified."""

    def write(self, uri: str, data: bytes) -> None:
        """Write a file, whole or not at all. Overwrites an existing file and creates missing folders.

        Raises:
            UsageError: The error is permanent, such as a missing permission or bucket.
            Unreadable: The error may be transient.
        """

    def create(self, uri: str) -> AbstractContextManager[BinaryIO]:
        """Return a file to write to in a ``with`` block. It appears at ``uri`` when the block ends without an error.

        Its content is never in memory as a whole. Raises as ``write``.
        """

    def delete(self, uri: str) -> None:
        """Delete a file. It is no error if the file does not exist."""

    def write_if(self, uri: str, data: bytes, version: str | None) -> str | None:
        """Write a file only if it has this version, or only if it does not exist for ``version=None``.

        One of several concurrent calls with the same version succeeds. On file systems that only Beam can write,
        more than one may succeed in rare cases.

        Returns:
            The new version, or None if nothing was written. If a response is lost, the result may be None although
            the file was written, so put something into ``data`` that identifies the writer.
        """

    def delete_if(self, uri: str, version: str) -> bool:
        """Delete a file only if it has this version. Return whether it was deleted."""

    def written_at(self, uri: str) -> datetime:
        """Return when a file was last written, in UTC by the clock of its file system. Raises NotFound."""

    def half_written(self, prefix: str, *, recursive: bool = True) -> Iterator[str]:
        """Yield incomplete files below a folder that killed calls of ``write`` left. ``walk`` omits them."""

    def walk(
        self, prefix: str, *, recursive: bool = True, keys: KeyRange = ALL_KEYS, page: int | None = None
    ) -> Iterator[Stat]:
        """Yield all files whose URIs start with ``prefix``. Yield none if the folder does not exist.

        Local files and objects on gs:// and s3:// are sorted by URI. Other file systems yield files in any order.

        Args:
            prefix: A folder with a slash at its end, or a folder and the beginning of names in it.
            recursive: Include the folders below. If not, they are not even listed where that is possible.
            keys: The URIs to yield. The bounds start with ``prefix``. gs:// and s3:// list only these.
            page: Maximum number of files in a response of gs:// or s3://. None for as many as the server allows.
        """


def check_size(file: Stat, max_bytes: int | None) -> None:
    """Raise TooManyBytes for a file larger than ``max_bytes``. None means no limit."""
    if max_bytes is not None and file.size > max_bytes:
        raise TooManyBytes(
            f"{file.uri} has {file.size:,} bytes, more than --max-bytes {max_bytes:,}", version=file.version
        )


def check_version(file: Stat, version: str | None) -> None:
    """Raise Changed for a file with another version than ``version``. None means any."""
    if version is not None and file.version != version:
        raise Changed(
            f"{file.uri} was overwritten: version {version} was listed, the current version is {file.version}"
        )


def spool(file: Stat, pieces: Iterable[bytes], in_memory: int = _IN_MEMORY) -> BinaryIO:
    """Return a stream of the pieces of a file, in memory if the file is small, else in an unnamed temporary file.

    Args:
        file: The file.
        pieces: Its bytes.
        in_memory: Maximum size of a small file.

    Raises:
        UsageError: The disk for temporary files is full.
    """
    copy: Any = io.BytesIO() if file.size <= in_memory else tempfile.TemporaryFile()  # noqa: SIM115 - it is returned
    try:
        with temporary(file):
            for piece in pieces:
                copy.write(piece)
            copy.seek(0)
    except BaseException:
        with suppress(OSError):
            copy.close()
        raise
    return cast(BinaryIO, copy)


@contextmanager
def temporary(file: Stat) -> Iterator[None]:
    """Convert an error of the disk for temporary files, to which a file is copied, to UsageError."""
    try:
        yield
    except OSError as exc:
        raise UsageError(
            f"cannot copy {file.uri} ({file.size:,} bytes) to {tempfile.gettempdir()}: {exc.strerror}; "
            "set TMPDIR to a folder with more space"
        ) from exc
