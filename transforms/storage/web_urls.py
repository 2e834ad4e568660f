"""The URLs of images: their parts, and the targets of redirects."""

from __future__ import annotations

import re
from contextlib import suppress
from urllib.parse import urljoin

from urllib3 import BaseHTTPResponse
from urllib3.exceptions import LocationParseError
from urllib3.util import Url, parse_url

from transforms.errors import Unreadable, UsageError

_LOGIN = re.compile(r"^(https?://)[^/?#]*@", re.IGNORECASE)
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


def parse(uri: str) -> Url:
    """Return the parts of a URI, percent-encoded where they have to be. Raises UsageError for an invalid one."""
    try:
        url = parse_url(uri)
    except LocationParseError:
        # Not from exc, which may show a password.
        raise UsageError(f"{without_login(uri)} is not a valid URL; check its host and its port") from None
    if url.scheme not in ("http", "https") or not url.host:
        raise UsageError(f"{without_login(uri)} names no host; write https://HOST/PATH")
    if url.auth is not None:
        raise UsageError(
            f"{without_login(uri)} has a user name or a password, which tables and logs would show; remove them"
        )
    return url._replace(fragment=None)


def without_login(uri: str) -> str:
    """Return a URI for messages: ``https://…@host/a.jpg`` for ``https://user:password@host/a.jpg``."""
    return _LOGIN.sub(r"\1…@", uri)


def redirect_target(response: BaseHTTPResponse, uri: str, url: Url) -> Url | None:
    """Return where a response redirects to. None if it does not. Raises Unreadable for a target that is refused."""
    location = response.headers.get("Location", "")
    with suppress(UnicodeError):
        location = location.encode("latin-1").decode()  # as browsers read it; http.client takes it for Latin-1
    if response.status not in _REDIRECTS or not location:
        return None
    try:
        target = parse(urljoin(str(url), location))
    except (UsageError, ValueError) as exc:
        response.close()
        raise Unreadable(f"{uri} redirects to {location[:200]!r}, which is not an http(s) URL of a host") from exc
    if url.scheme == "https" and target.scheme != "https":
        response.close()
        raise Unreadable(
            f"{uri} redirects from https to {str(target)[:200]}, which is not encrypted; if you accept this, name that "
            "URL in the manifest"
        )
    return target
