"""``--on-finish``: the report of a run, posted to whoever wants to know how it ended."""

from __future__ import annotations

import http.client
import json
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TextIO
from urllib.parse import urlsplit

from transforms.errors import UsageError

SECONDS, TIMEOUT, PAUSE = 40.0, 10.0, 1.0  # over all attempts; for one answer; before the second attempt, then doubled

_PASSING = (408, 425, 429)


@dataclass(frozen=True, slots=True)
class Webhook:
    """Where to post. The URL may hold a secret, so only its host is ever shown."""

    url: str = field(repr=False)

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.url)
            fine = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
        except ValueError:
            fine = False
        if not fine or "@" in parts.netloc or not self.url.isascii() or any(sign <= " " for sign in self.url):
            raise UsageError("--on-finish takes a URL such as https://host/path, without a user in it")

    def __str__(self) -> str:
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}/..."

    def post(
        self,
        report: Mapping[str, Any],
        stream: TextIO,
        *,
        seconds: float = SECONDS,
        timeout: float = TIMEOUT,
        pause: float = PAUSE,
    ) -> bool:
        """Post a report as JSON -> whether it was taken. What fails is said on ``stream`` and does no more harm.

        Tried again, after ``pause`` and then twice as long each time, while the server does not answer or says that
        it may pass, for no longer than ``seconds`` in all. Redirects are not followed.
        """
        end = time.monotonic() + seconds
        data = json.dumps(report, ensure_ascii=False).encode()
        while True:
            problem, passing = _post(self.url, data, max(0.1, min(timeout, end - time.monotonic())))
            if problem is None:
                return True
            if not passing or time.monotonic() + pause >= end:
                stream.write(f"beamsight: the report could not be posted to {self}: {problem}\n")
                return False
            time.sleep(pause)
            pause *= 2


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirected POST would arrive as a GET without its report."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def _post(url: str, data: bytes, timeout: float) -> tuple[str | None, bool]:
    """What went wrong, or None, and whether it may pass."""
    headers = {"Content-Type": "application/json", "User-Agent": "beamsight"}
    request = urllib.request.Request(url, data, headers, method="POST")
    try:
        with urllib.request.build_opener(_NoRedirects).open(request, timeout=timeout):
            return None, False
    except urllib.error.HTTPError as error:
        error.close()
        return f"it answers {error.code}", error.code >= 500 or error.code in _PASSING
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        return f"{reason}" or type(error).__name__, True
