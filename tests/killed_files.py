"""A disk on which a process is killed in the middle: after some changes of files, no further change happens."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from transforms.storage.local import LocalFiles


class Killed(BaseException):
    """The process is dead."""


class KilledFiles(LocalFiles):
    """A disk that takes only so many changes."""

    def __init__(self, changes: int) -> None:
        self._left = changes
        self._mutex = threading.Lock()

    def _change(self) -> None:
        with self._mutex:
            if not self._left:
                raise Killed
            self._left -= 1

    @contextmanager
    def create(self, uri: str) -> Iterator[BinaryIO]:
        with super().create(uri) as file:
            yield file
            self._change()  # before the rename

    def delete(self, uri: str) -> None:
        self._change()
        super().delete(uri)
