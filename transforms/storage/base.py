"""What the rest asks of a file system, whichever it is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import BinaryIO, Protocol

from transforms.errors import TooManyBytes

HALF_WRITTEN = re.compile(r"\.[0-9]+-[0-9a-f]{16}\.tmp")  # beside what it will be, where a rename makes it whole


@dataclass(frozen=True, slots=True)
class Stat:
    """One file: its URI as a user would write it, its size in bytes and its version.

    ``version`` is the generation on gs://, ``<mtime_ns>-<size>`` on a disk, ``<mtime>-<size>`` elsewhere. It
    is another one whenever the content is another one, and the same from a listing and from a look at one
    file. ``size`` is of the bytes as they are stored.
    """

    uri: str
    size: int
    version: str


class FileSystem(Protocol):
    """Files by URI. Methods raise ``transforms.errors`` only: ``NotFound`` and the other ``FetchError``s.

    ``UsageError`` is for what no run can mend: a URI that names no file, no credentials, no right to write.
    Safe to call from many threads at once.
    """

    def stat(self, uri: str) -> Stat:
        """URI -> its size and version. Raises NotFound."""

    def read(
        self, uri: str, version: str | None = None, max_bytes: int | None = None, *, size: int | None = None
    ) -> tuple[bytes, Stat]:
        """URI -> all its bytes, and what exactly was read.

        With ``version``, these bytes are of that version or ``Changed`` is raised. More than ``max_bytes``
        raise ``TooManyBytes``, before the download where the size can be known by then. ``size`` is that of
        ``version`` as it was listed: with both, gs:// need not be asked for them again.
        """

    def open(self, uri: str) -> BinaryIO:
        """URI -> a binary stream that can be read to its end without holding it all in memory."""

    def write(self, uri: str, data: bytes) -> None:
        """Put ``data`` at ``uri``, whole or not at all, over whatever is there. Makes missing folders.

        Raises UsageError where it can never be (no right to, no such bucket), else Unreadable: it may pass.
        """

    def delete(self, uri: str) -> None:
        """Remove ``uri``; it is no error when it is not there."""

    def write_if(self, uri: str, data: bytes, version: str | None) -> str | None:
        """Write only over this version, or with None only where there is no file -> the new version, or None.

        Of all that try at once with the same version one succeeds; on what Beam alone can write, most often. After
        a lost answer a try that did succeed may say None, so let the data tell whose it is.
        """

    def delete_if(self, uri: str, version: str) -> bool:
        """Remove ``uri`` if it has this version still -> whether it was removed."""

    def written_at(self, uri: str) -> datetime:
        """When ``uri`` was last written, in UTC by the clock of where it lies. Raises NotFound."""

    def half_written(self, prefix: str, *, recursive: bool = True) -> Iterator[str]:
        """What killed processes left of files that ``write`` was writing, below a folder; a walk leaves it out."""

    def walk(self, prefix: str, *, recursive: bool = True) -> Iterator[Stat]:
        """All files below a folder, or none when there is no such folder; in any order.

        ``prefix`` ends in ``/``. URIs are spelled as it was, followed by the rest of the path. Without
        ``recursive``, only the files right in the folder; what is below it is not looked at where that can
        be avoided.
        """


def check_size(file: Stat, max_bytes: int | None) -> None:
    """Raise TooManyBytes for a file larger than ``max_bytes``, if there is such a limit."""
    if max_bytes is not None and file.size > max_bytes:
        raise TooManyBytes(
            f"{file.uri} has {file.size:,} bytes, more than --max-bytes {max_bytes:,}", version=file.version
        )
