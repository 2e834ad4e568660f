"""What is remembered of each host of http:// and https://: its slots, its pauses, and whether it answers."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

_REMEMBERED = 10_000  # hosts


@dataclass(frozen=True, slots=True)
class Pacing:
    """How long and how often hosts are asked.

    Attributes:
        connect: Seconds for a connection.
        attempts: Number of attempts of a read, at a host that never answered.
        patience: Seconds over all attempts of a read, at a host that has answered before. It may restart.
        backoff: Seconds before the second attempt. They double up to ``longest_backoff``, with jitter.
        longest_backoff: Maximum number of seconds between attempts.
        longest_pause: Maximum number of seconds that a read waits because of ``Retry-After``.
        limit: Number of reads in a row without an answer, after which the host is not asked for a while.
        closed: Seconds until a host that does not answer is asked again.
        longest_closed: Maximum number of seconds that a host is not asked because of ``Retry-After``.
    """

    connect: float = 10.0
    attempts: int = 3
    patience: float = 120.0
    backoff: float = 0.5
    longest_backoff: float = 10.0
    longest_pause: float = 60.0
    limit: int = 5
    closed: float = 60.0
    longest_closed: float = 3600.0


class Closed(Exception):
    """A host is not asked at the moment. The message says why."""


class Host:
    """A host, with its port if the URL names one, and its slots. Thread-safe."""

    def __init__(self, name: str, per_host: int, pacing: Pacing) -> None:
        self.name = name
        self._pacing = pacing
        self._slots = threading.BoundedSemaphore(per_host)
        self._lock = threading.Lock()
        self._answers = 0
        self._unanswered = 0  # reads in a row
        self._closed_until = 0.0  # by time.monotonic()
        self._paused_until = 0.0
        self.users = 0  # requests that wait or run

    @property
    def answers(self) -> int:
        """Number of answers so far."""
        return self._answers

    def require_open(self) -> bool:
        """Return whether the caller is the first to ask a host again after it did not answer. Raises Closed."""
        now = time.monotonic()
        with self._lock:
            if (pause := self._paused_until - now) > self._pacing.longest_pause:
                raise Closed(f"{self.name} is not asked for {pause:.0f} s, because it sent Retry-After")
            if not self._closed_until:
                return False
            if now < self._closed_until:
                raise Closed(
                    f"{self.name} is not asked for {self._closed_until - now:.0f} s, because {self._unanswered} reads "
                    "in a row had no answer"
                )
            # One read tries the host. Others fail until it has an answer.
            self._closed_until = now + self._pacing.closed
            return True

    @contextmanager
    def slot(self) -> Iterator[None]:
        """Wait for a slot, of which a host has ``--per-host``, and hold it in the ``with`` block."""
        with self._slots:
            yield

    def pause(self) -> float:
        """Return the number of seconds until the host may be asked."""
        return max(0.0, self._paused_until - time.monotonic())

    def ask_later(self, seconds: float) -> None:
        """Let nobody ask the host for ``seconds``, as ``Retry-After`` says."""
        until = time.monotonic() + min(seconds, self._pacing.longest_closed)
        with self._lock:
            self._paused_until = max(self._paused_until, until)

    def count_answer(self) -> None:
        """Count an answer. It opens the host."""
        with self._lock:
            self._answers += 1
            self._unanswered = 0
            self._closed_until = 0.0

    def count_unanswered(self, answers_before: int) -> None:
        """Count a read without an answer, unless another read had one since its start."""
        with self._lock:
            if self._answers != answers_before:
                return
            self._unanswered += 1
            if self._unanswered >= self._pacing.limit:
                self._closed_until = time.monotonic() + self._pacing.closed


class Hosts:
    """All hosts by name. The hosts used last are remembered. Thread-safe."""

    def __init__(self, per_host: int, pacing: Pacing) -> None:
        self._per_host = per_host
        self._pacing = pacing
        self._lock = threading.Lock()
        self._hosts: OrderedDict[str, Host] = OrderedDict()

    @contextmanager
    def use(self, name: str) -> Iterator[Host]:
        """Return a host. It is not forgotten during the ``with`` block."""
        with self._lock:
            host = self._hosts.get(name)
            if host is None:
                host = self._hosts[name] = Host(name, self._per_host, self._pacing)
                self._forget()
            self._hosts.move_to_end(name)
            host.users += 1
        try:
            yield host
        finally:
            with self._lock:
                host.users -= 1

    def _forget(self) -> None:
        for name in list(self._hosts)[: max(0, len(self._hosts) - _REMEMBERED)]:
            if not self._hosts[name].users:
                del self._hosts[name]
