"""Errors of requests to http:// and https://: which are transient, and what each becomes."""

from __future__ import annotations

import re
import socket

from urllib3 import BaseHTTPResponse
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError

from transforms.errors import FetchError, NotFound, Unreadable
from transforms.storage import web_responses
from transforms.storage.web_hosts import Host

_OBJECT = re.compile(r"^(<[^>]* object at 0x\w+>|\w+\(host=.*?, port=\w+\)): ")
_BUSY = frozenset({408, 425, 429})  # of 4xx, those that may succeed later


class Failed(Exception):
    """An attempt failed at a host. again: Whether another attempt may succeed at once, or after a few seconds."""

    def __init__(self, error: FetchError, host: Host, *, again: bool) -> None:
        super().__init__(str(error))
        self.error = error
        self.host = host
        self.again = again


def of_status(response: BaseHTTPResponse, uri: str, host: Host) -> FetchError | Failed:
    """Return the error for a status that is not a success, and let the host rest if it says so."""
    status = response.status
    text = f"{uri}: {host.name} answers {status} {response.reason or ''}".rstrip()
    if status in (404, 410):
        return NotFound(f"there is no {uri}: {host.name} answers {status}")
    if status in (401, 403):
        return Unreadable(f"{text}; it does not allow this client to read it", retryable=True, answered=True)
    if (status < 500 and status not in _BUSY) or status == 501:
        return Unreadable(text)
    seconds = web_responses.retry_after(response)
    if seconds is not None:
        host.ask_later(seconds)
        text += f", Retry-After: {seconds:.0f} s"
    return Failed(Unreadable(text, retryable=True, answered=seconds is not None), host, again=True)


def of_exception(uri: str, exc: Exception, host: Host) -> Failed:
    """Return the failure of a request without a whole response."""
    # A name that does not exist will not exist in a second. Old lists name many hosts that are gone.
    unknown = isinstance(exc, NameResolutionError) and getattr(exc.__cause__, "errno", None) == socket.EAI_NONAME
    gone = unknown or (isinstance(exc, ConnectTimeoutError) and not host.answers)
    error = Unreadable(f"{uri}: {type(exc).__name__}: {reason(exc)}", retryable=True)
    return Failed(error, host, again=not gone)


def reason(exc: Exception) -> str:
    """Return the reason without the objects that urllib3 names in front of it, and without repetition."""
    texts = [_OBJECT.sub("", str(part)) for part in exc.args if isinstance(part, str | Exception)]
    return " ".join(text for text in texts if text not in texts[0] or text == texts[0]) or str(exc)


def is_unanswered(error: FetchError) -> bool:
    """Return whether an error shows that a host is down, as in ``transforms.outage``."""
    return error.retryable and not (isinstance(error, Unreadable) and error.answered)
