"""Requests to http:// and https://: redirects, attempts, and which errors are transient."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.client import HTTPException
from importlib import metadata
from typing import TypeVar

from urllib3 import BaseHTTPResponse
from urllib3.exceptions import HTTPError, SSLError
from urllib3.util import Timeout, Url

from transforms.errors import Disallowed, FetchError, Unreadable
from transforms.storage import web_errors, web_responses, web_urls
from transforms.storage.web_access import Access
from transforms.storage.web_connections import Connections, NotPublic, Resolve
from transforms.storage.web_errors import Failed
from transforms.storage.web_hosts import Closed, Host, Hosts, Pacing

REDIRECTS = 5  # at most, one after the other

_T = TypeVar("_T")


@dataclass(slots=True)
class _Read:
    """One read over all its attempts.

    Attributes:
        method: GET or HEAD.
        uri: The image.
        url: The parts of ``uri``.
        headers: The headers of each request.
        seconds: Maximum number of seconds, without those in which it waits for a slot.
        answers: By host, the number of its answers when this read first asked it.
        probes: The hosts that this read is the first one to ask again.
        attempts: Number of attempts so far.
        start: When it started, later by the time that it waited for slots.
    """

    method: str
    uri: str
    url: Url
    headers: dict[str, str]
    seconds: float
    answers: dict[Host, int]
    probes: list[Host] = field(default_factory=list)
    attempts: int = 0
    start: float = field(default_factory=time.monotonic)

    @property
    def end(self) -> float:
        return self.start + self.seconds

    def waited(self, seconds: float) -> None:
        self.start += seconds

    def require_open(self, host: Host) -> None:
        """Raise Closed if a host is not asked at the moment, unless this read is the one that tries it again."""
        if host not in self.probes and host.require_open():
            self.probes.append(host)


class Requests:
    """Requests that follow redirects and are repeated after transient errors. Thread-safe.

    Args:
        access: Which hosts may be asked, and how often.
        pacing: How long and how often hosts are asked.
        resolve: The resolver of names, see ``web_connections``.
    """

    def __init__(self, access: Access, pacing: Pacing, resolve: Resolve) -> None:
        self._access = access
        self._pacing = pacing
        self._hosts = Hosts(access.per_host, pacing)
        self._connections = Connections(access.per_host, access.private_hosts, resolve)
        self._headers = {
            "User-Agent": f"{web_responses.AGENT}/{metadata.version('beamsight')} "
            "(batch classification and embedding of images)",
            "Accept": "image/*,*/*;q=0.5",
            "Accept-Encoding": "identity",
        }

    def send(
        self,
        method: str,
        uri: str,
        use: Callable[[BaseHTTPResponse], _T],
        seconds: float,
        headers: dict[str, str] | None = None,
    ) -> _T:
        """Return ``use(response)`` for the response at the end of all redirects.

        Args:
            method: GET or HEAD.
            uri: The image.
            use: Reads the response, whose status is 200, 203 or 206.
            seconds: Maximum number of seconds over all attempts.
            headers: More headers of the request.

        Raises:
            NotFound: The status is 404 or 410.
            Disallowed: The server forbids this use.
            Unreadable: Any other error.
        """
        url = web_urls.parse(uri)
        with self._hosts.use(str(url.netloc)) as host:
            read = _Read(method, uri, url, self._headers | (headers or {}), seconds, {host: host.answers})
            while True:
                read.attempts += 1
                try:
                    return self._follow(read, use)
                except Failed as failed:
                    delay = self._delay(read, failed)
                    if failed.again and not read.probes and time.monotonic() + delay < self._end(read, failed):
                        time.sleep(delay)
                        continue
                    if web_errors.is_unanswered(failed.error):
                        failed.host.count_unanswered(read.answers[failed.host])
                    if time.monotonic() < read.end or not failed.again:
                        raise failed.error from failed.__cause__
                    raise Unreadable(
                        f"{uri}: the download did not end within {seconds:g} s; allow more time with --fetch-timeout "
                        f"({failed.error})",
                        retryable=True,
                    ) from failed.__cause__

    def _delay(self, read: _Read, failed: Failed) -> float:
        """Return the seconds until the next attempt, with jitter, or what ``Retry-After`` says if that is longer."""
        longest = min(self._pacing.longest_backoff, self._pacing.backoff * 2 ** min(read.attempts - 1, 10))
        return max(random.uniform(0.5, 1.5) * longest, failed.host.pause())

    def _end(self, read: _Read, failed: Failed) -> float:
        """Return until when a read is repeated. A host that never answered is asked only a few times."""
        answered = failed.host.answers or (isinstance(failed.error, Unreadable) and failed.error.answered)
        if not answered and read.attempts >= self._pacing.attempts:
            return 0.0
        return min(read.end, read.start + self._pacing.patience)

    def _follow(self, read: _Read, use: Callable[[BaseHTTPResponse], _T]) -> _T:
        """Send one request, and one for each redirect. A host's slot is free again before the next host is asked."""
        url = read.url
        for _ in range(REDIRECTS + 1):
            with self._hosts.use(str(url.netloc)) as host:
                read.answers.setdefault(host, host.answers)
                try:
                    read.require_open(host)
                    before = time.monotonic()
                    with host.slot():
                        read.waited(time.monotonic() - before)
                        read.require_open(host)  # it may be closed since the read waits for its slot
                        pause = host.pause()
                        if pause and time.monotonic() + pause >= read.end:
                            raise Closed(f"{host.name} is not asked for {pause:.0f} s, because it sent Retry-After")
                        time.sleep(pause)
                        response = self._request(read, url, host)
                        target = web_urls.redirect_target(response, read.uri, url)
                        if target is None:
                            return self._use(response, read.uri, host, use)
                        web_responses.drain(response)
                        host.count_answer()
                except Closed as exc:
                    error = Unreadable(f"{read.uri}: {exc}", retryable=True, answered=True)
                    raise Failed(error, host, again=False) from exc
            url = target
        raise Unreadable(f"{read.uri}: there are more than {REDIRECTS} redirects, the last one to {str(url)[:200]}")

    def _request(self, read: _Read, url: Url, host: Host) -> BaseHTTPResponse:
        left = read.end - time.monotonic()
        if left <= 0:
            raise Failed(Unreadable(f"{read.uri}: no time is left", retryable=True), host, again=True)
        shown = read.uri if url == read.url else f"{read.uri} (redirected to {str(url)[:200]})"
        port = url.port or (443 if url.scheme == "https" else 80)
        try:
            return self._connections.pool(str(url.scheme), str(url.host), port).urlopen(
                read.method,
                url.request_uri,
                headers=read.headers,
                retries=False,
                redirect=False,
                assert_same_host=False,
                timeout=Timeout(connect=min(self._pacing.connect, left), read=left),
                preload_content=False,
                decode_content=False,
            )
        except NotPublic as exc:
            error = Unreadable(f"{shown}: {exc}; to read from private hosts, pass --allow-private-hosts")
            raise error from exc
        except SSLError as exc:
            if "CERTIFICATE_VERIFY_FAILED" not in str(exc):
                raise web_errors.of_exception(shown, exc, host) from exc
            error = Unreadable(
                f"{shown}: the certificate of {url.host} is not trusted: {web_errors.reason(exc)}; if "
                "it is issued by an authority of your own, set SSL_CERT_FILE to its certificate",
                retryable=True,
                answered=True,
            )
            raise Failed(error, host, again=False) from exc
        except (HTTPError, HTTPException, OSError) as exc:
            raise web_errors.of_exception(shown, exc, host) from exc

    def _use(self, response: BaseHTTPResponse, uri: str, host: Host, use: Callable[[BaseHTTPResponse], _T]) -> _T:
        status = response.status
        try:
            if status not in (200, 203, 206):
                error = web_errors.of_status(response, uri, host)
                web_responses.drain(response)
                raise error
            if self._access.robots_tags and (directive := web_responses.disallowed(response)):
                raise Disallowed(
                    f"{uri}: the server forbids this use with X-Robots-Tag: {directive}; if the image is yours, pass "
                    "--ignore-robots-tags"
                )
            result = use(response)
        except (HTTPError, HTTPException, OSError) as exc:
            response.close()
            raise web_errors.of_exception(uri, exc, host) from exc
        except FetchError:
            response.close()
            host.count_answer()
            raise
        except BaseException:
            response.close()
            raise
        host.count_answer()
        return result
