"""``--on-finish``: post the report of a finished run to a webhook."""

from __future__ import annotations

import http.client
import itertools
import json
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TextIO
from urllib.parse import urlsplit

from transforms.errors import UsageError

# Seconds for all attempts, for one answer, and between the first two attempts. Each later pause is twice as long.
SECONDS, TIMEOUT, PAUSE = 40.0, 10.0, 1.0

_TRANSIENT = (408, 425, 429)  # besides all 5xx


@dataclass(frozen=True, slots=True)
class Webhook:
    """The URL to post to. It may hold a secret, so messages show only its host."""

    url: str = field(repr=False)

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.url)
            valid = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
        except ValueError:
            valid = False
        if not valid or "@" in parts.netloc or not self.url.isascii() or any(char <= " " for char in self.url):
            raise UsageError("--on-finish takes a URL such as https://host/path, without a user name")

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
        """Post a report as JSON, and retry transient errors. Redirects are not followed.

        Args:
            report: The run report.
            stream: Receives a message when the report cannot be posted. The run does not fail because of it.
            seconds: Total time for all attempts.
            timeout: Time for one attempt.
            pause: Time before the second attempt. It doubles before each later one.

        Returns:
            Whether the server accepted the report.
        """
        # Imported here, because it loads `requests`, and most commands never post anything.
        from google.api_core import retry

        end = time.monotonic() + seconds
        data = json.dumps(report, ensure_ascii=False).encode()
        try:
            retry.retry_target(
                lambda: _post(self.url, data, max(0.1, min(timeout, end - time.monotonic()))),
                lambda error: isinstance(error, _PostError) and error.transient,
                (pause * 2**n for n in itertools.count()),
                timeout=seconds,
                exception_factory=lambda errors, *_: (errors[-1], None),
            )
        except _PostError as error:
            stream.write(f"beamsight: could not post the report to {self}: {error}\n")
            return False
        return True


class _PostError(Exception):
    """The server did not accept the report. ``transient``: another attempt may succeed."""

    def __init__(self, message: str, *, transient: bool) -> None:
        super().__init__(message)
        self.transient = transient


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Refuses redirects, because urllib turns a redirected POST into a GET without the report."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def _post(url: str, data: bytes, timeout: float) -> None:
    headers = {"Content-Type": "application/json", "User-Agent": "beamsight"}
    request = urllib.request.Request(url, data, headers, method="POST")
    try:
        urllib.request.build_opener(_NoRedirects).open(request, timeout=timeout).close()
    except urllib.error.HTTPError as error:
        error.close()
        transient = error.code >= 500 or error.code in _TRANSIENT
        raise _PostError(f"the server answered {error.code}", transient=transient) from error
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise _PostError(f"{reason}" or type(error).__name__, transient=True) from error
