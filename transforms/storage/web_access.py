"""What a run allows for http:// and https://, from its options to the thread that reads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from transforms import defaults


@dataclass(frozen=True, slots=True)
class Access:
    """Which hosts may be asked, and how often.

    Attributes:
        per_host: Maximum number of concurrent requests to a host, from each process.
        private_hosts: Whether hosts may have addresses that are not public.
        robots_tags: Whether the header ``X-Robots-Tag`` is honoured.
    """

    per_host: int = defaults.PER_HOST
    private_hosts: bool = False
    robots_tags: bool = True


_PUBLIC = Access()
_access: ContextVar[Access] = ContextVar("access", default=_PUBLIC)


def current() -> Access:
    """Return what this thread allows. Without ``using``, only public hosts may be asked."""
    return _access.get()


@contextmanager
def using(access: Access) -> Iterator[None]:
    """Allow ``access`` for what this thread reads in the ``with`` block."""
    token = _access.set(access)
    try:
        yield
    finally:
        _access.reset(token)
