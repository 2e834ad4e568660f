"""Faults of a request, collected so that the user sees all of them at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from transforms.errors import FetchError, UsageError


class Faults:
    """The messages of all faults that were found so far.

    faults = Faults()
    with faults.collect():
        options = read_options()
    with faults.collect():
        require_output(output)
    faults.require_none()
    """

    def __init__(self) -> None:
        self.messages: list[str] = []

    @contextmanager
    def collect(self, place: str = "") -> Iterator[None]:
        """Collect the UsageError or FetchError of a ``with`` block. place: Text before the message."""
        try:
            yield
        except (UsageError, FetchError) as error:
            self.add(*(f"{place}{line}" for line in str(error).splitlines()))

    def add(self, *messages: str) -> None:
        """Add faults. One that was found before is not repeated."""
        self.messages += [each for each in messages if each not in self.messages]

    def require_none(self) -> None:
        """Raise UsageError with a line for each fault, if there is one."""
        if self.messages:
            raise UsageError("\n".join(self.messages))
