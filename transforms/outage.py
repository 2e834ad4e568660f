"""Tell a storage that is down from images that cannot be read: one stops the run, the others become failure rows."""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from transforms import member_uris
from transforms.errors import Changed, FetchError, NotFound, StorageDown, Unreadable

# As many as download at the same time by default. Each was retried before it failed, so a short fault does not count.
LIMIT = 12

_WEB = re.compile("https?://", re.IGNORECASE)


class Outage:
    """Counts the reads in a row to which a storage gave no answer, over all threads of a worker. Thread-safe.

    Any answer ends the row, also that an image does not exist or that its read is forbidden. Each bucket is counted
    by itself. Hosts of http:// and https:// are not counted: the images of a manifest may be on thousands of hosts, of
    which some are gone for good. ``web_hosts`` makes failures of such a host quick.
    """

    def __init__(self, limit: int = LIMIT) -> None:
        """Start with no reads. limit: Number of reads in a row without an answer that show an outage."""
        self._limit = limit
        self._lock = threading.Lock()
        self._answers: Counter[str] = Counter()  # by storage
        self._unanswered: Counter[str] = Counter()  # by storage, since the last answer
        self._folders: dict[str, str] = {}  # by storage, of the last image without an answer

    @contextmanager
    def watch(self, uri: str) -> Iterator[None]:
        """Count the read of ``uri`` that the ``with`` block does.

        Raises:
            StorageDown: The read failed, and with it too many in a row.
        """
        storage = storage_of(uri)
        if _WEB.match(storage):
            yield
            return
        with self._lock:
            answers = self._answers[storage]
        try:
            yield
        except FetchError as error:
            if not _is_unanswered(error):
                self._count_answer(storage)
                raise
            self._folders[storage] = member_uris.file_of(uri).rpartition("/")[0]
            number = self._count_unanswered(storage, answers)
            if number < self._limit:
                raise
            raise _down(storage, number, error) from error
        else:
            self._count_answer(storage)

    def require_answer(self, ask: Callable[[str], object]) -> None:
        """Ask each storage whose last reads had no answer once more, because few reads do not show an outage.

        Args:
            ask: Requests a file. It is called with a name beside the last image, which may be the only one that fails.

        Raises:
            StorageDown: A storage still does not answer.
        """
        for storage in [name for name, number in self._unanswered.copy().items() if number]:
            try:
                ask(f"{self._folders[storage]}/.beamsight-probe")
            except FetchError as error:
                if _is_unanswered(error):
                    raise _down(storage, self._unanswered[storage] + 1, error) from error
            self._count_answer(storage)

    def _count_answer(self, storage: str) -> None:
        with self._lock:
            self._answers[storage] += 1
            self._unanswered[storage] = 0

    def _count_unanswered(self, storage: str, answers_before: int) -> int:
        """Return how many reads in a row had no answer.

        A slow failure among quick answers shows no outage, so a read does not count if another one that ended after
        its start had an answer.
        """
        with self._lock:
            if self._answers[storage] == answers_before:
                self._unanswered[storage] += 1
            return self._unanswered[storage]


def _down(storage: str, number: int, error: FetchError) -> StorageDown:
    reason = " ".join(str(error).split())
    return StorageDown(
        f"{storage} does not answer: {number} reads in a row failed, the last one because of "
        f"{reason}. No attempt is counted; run again when the storage is available"
    )


def storage_of(uri: str) -> str:
    """Return what fails together with ``uri``: ``gs://bucket`` for an object, or the local file system."""
    found = re.match(r"(?!file:)[a-z0-9+.-]+://[^/]*", member_uris.file_of(uri), re.IGNORECASE)
    return found[0] if found else "the local file system"


def _is_unanswered(error: FetchError) -> bool:
    answered = isinstance(error, (Changed, NotFound)) or isinstance(error.__cause__, PermissionError)
    return error.retryable and not answered and not (isinstance(error, Unreadable) and error.answered)
