"""Images on http:// and https://, from servers on this machine."""

from __future__ import annotations

import gzip
import hashlib
import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

import certificates
import faults
import pytest
from web_server import Page, WebServer

from transforms.errors import Changed, Disallowed, FetchError, NotFound, TooManyBytes, Unreadable, UsageError
from transforms.storage import files, web_access, web_connections
from transforms.storage.web import WebFiles
from transforms.storage.web_access import Access
from transforms.storage.web_hosts import Pacing

BODY = bytes(range(256)) * 8
QUICK = Pacing(connect=2.0, attempts=3, patience=2.0, backoff=0.01, longest_backoff=0.05, longest_pause=1.0)


@pytest.fixture
def server() -> Iterator[WebServer]:
    with WebServer() as server:
        yield server


@pytest.fixture
def web() -> WebFiles:
    return WebFiles(QUICK)


@pytest.fixture(autouse=True)
def private_hosts() -> Iterator[None]:
    with web_access.using(Access(private_hosts=True)):
        yield


def test_the_bytes_and_the_request(server: WebServer, web: WebFiles) -> None:
    url = server.put("/a%20b.jpg?x=1", BODY, headers={"ETag": '"abc"'})
    data, stat = web.read(url.replace("%20", " ") + "#part")
    assert (data, stat.size, stat.version) == (BODY, len(BODY), "abc")
    (method, path, headers) = server.requests[0]
    assert (method, path) == ("GET", "/a%20b.jpg?x=1")
    assert headers["user-agent"].startswith(f"beamsight/{metadata.version('beamsight')} (")
    assert headers["accept-encoding"] == "identity"


DATE = "Fri, 20 Nov 2026 10:00:00 GMT"


@pytest.mark.parametrize(
    ("headers", "version"),
    [
        ({"ETag": '"abc"', "Last-Modified": DATE}, "abc"),
        ({"ETag": 'W/"abc"', "Last-Modified": DATE}, "2026-11-20T10:00:00Z"),
        ({"ETag": 'W/"abc"'}, "W/abc"),
        ({"Last-Modified": "yesterday"}, f"sha256-{hashlib.sha256(BODY).hexdigest()[:16]}"),
        ({"ETag": '""'}, f"sha256-{hashlib.sha256(BODY).hexdigest()[:16]}"),
        ({"ETag": '"' + "x" * 500 + '"'}, f"sha256-{hashlib.sha256(b'x' * 500).hexdigest()[:16]}"),
    ],
)
def test_the_version(server: WebServer, web: WebFiles, headers: dict[str, str], version: str) -> None:
    url = server.put("/a.jpg", BODY, headers=headers)
    assert web.read(url)[1].version == version
    if version != web.read(server.put("/b.jpg", BODY))[1].version:
        assert web.stat(url).version == version
        assert web.read(url, version=version)[1].version == version
        with pytest.raises(Changed, match=re.escape(f"version old was listed, the current version is {version}")):
            web.read(url, version="old")


@pytest.mark.parametrize("status", [403, 405, 501])
def test_a_server_that_refuses_head_is_asked_for_one_byte(server: WebServer, web: WebFiles, status: int) -> None:
    headers = {"ETag": '"a"', "Content-Range": f"bytes 0-0/{len(BODY)}"}
    stat = web.stat(server.put("/a.jpg", b"x", status=206, headers=headers, head=status))
    assert (stat.version, stat.size) == ("a", len(BODY))
    assert server.requests[-1][2]["range"] == "bytes=0-0"


def test_a_server_without_versions(server: WebServer, web: WebFiles) -> None:
    version = web.read(server.put("/b.jpg", BODY))[1].version
    assert web.read(f"{server.url}/b.jpg", version=version)[0] == BODY
    server.put("/b.jpg", BODY[1:])
    with pytest.raises(Changed, match=f"version {version} is known"):
        web.read(f"{server.url}/b.jpg", version=version)
    with pytest.raises(Unreadable, match="no ETag and no Last-Modified"):
        web.stat(server.put("/a.jpg", BODY))
    with pytest.raises(NotFound):
        web.stat(server.url + "/none")


def test_connections_are_used_again(server: WebServer, web: WebFiles) -> None:
    for number in range(5):
        web.read(server.put(f"/{number}.jpg", BODY))
        with pytest.raises(NotFound):
            web.read(f"{server.url}/no-{number}")
        web.read(server.put(f"/r{number}", b"moved", status=302, headers={"Location": f"/{number}.jpg"}))
    assert server.connections == 1
    assert len(server.requests) == 20


@pytest.mark.parametrize("per_host", [1, 3, 8])
def test_no_more_requests_at_once_than_allowed(server: WebServer, web: WebFiles, per_host: int) -> None:
    urls = [server.put(f"/{number}.jpg", BODY, delay=0.05) for number in range(24)]

    def read(url: str) -> bytes:
        with web_access.using(Access(per_host, private_hosts=True)):
            return web.read(url)[0]

    with ThreadPoolExecutor(24) as pool:
        assert list(pool.map(read, urls)) == [BODY] * 24
    assert server.peak["127.0.0.1"] == per_host
    assert server.connections == per_host


def test_each_host_has_its_own_slots(web: WebFiles) -> None:
    with WebServer("127.0.0.1") as one, WebServer("127.0.0.2") as other:
        urls = [server.put(f"/{number}", BODY, delay=0.3) for number in range(3) for server in (one, other)]
        start = time.monotonic()

        def read(url: str) -> bytes:
            with web_access.using(Access(3, private_hosts=True)):
                return web.read(url)[0]

        with ThreadPoolExecutor(6) as pool:
            assert list(pool.map(read, urls)) == [BODY] * 6
        assert time.monotonic() - start < 0.9


def test_waiting_for_a_slot_takes_nothing_of_the_time_of_a_download(server: WebServer, web: WebFiles) -> None:
    urls = [server.put(f"/{number}", BODY, delay=0.4) for number in range(4)]

    def read(url: str) -> bytes:
        with web_access.using(Access(1, private_hosts=True)):
            return web.read(url, timeout=1.0)[0]

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(read, urls)) == [BODY] * 4


# Redirects


def test_redirects_are_followed_up_to_five(server: WebServer, web: WebFiles) -> None:
    for number in range(1, 8):
        server.put(f"/{number}", status=(301, 302, 303, 307, 308)[number % 5], headers={"Location": f"{number - 1}"})
    server.put("/0", BODY, headers={"ETag": '"end"'})
    data, stat = web.read(f"{server.url}/5")
    assert (data, stat.version, stat.uri) == (BODY, "end", f"{server.url}/5")
    with pytest.raises(Unreadable, match=r"/6: there are more than 5 redirects, the last one to .*/0") as caught:
        web.read(f"{server.url}/6")
    assert not caught.value.retryable


def test_a_redirect_to_a_name_that_is_not_ascii(server: WebServer, web: WebFiles) -> None:
    server.put("/gr%C3%B6%C3%9Fer.jpg", BODY)
    location = "/größer.jpg".encode().decode("latin-1")  # the bytes of UTF-8
    server.pages["/a"] = Page(status=302, headers={"Location": location})
    assert web.read(f"{server.url}/a")[0] == BODY
    assert web.read(f"{server.url}/größer.jpg")[0] == BODY


@pytest.mark.parametrize("location", ["ftp://h/a.jpg", "file:///etc/passwd", "gopher://h/", "http://[::"])
def test_a_redirect_to_something_else_is_refused(server: WebServer, web: WebFiles, location: str) -> None:
    with pytest.raises(Unreadable, match=r"redirects to .*, which is not an http\(s\) URL") as caught:
        web.read(server.put("/a", status=302, headers={"Location": location}))
    assert not caught.value.retryable


def resolver(*answers: str) -> Callable[..., list[tuple[Any, ...]]]:
    """A resolver whose answers come in this order, the last one again and again; all connections reach 127.0.0.1."""
    left = list(answers)

    def resolve(host: str, port: int, *_: Any) -> list[tuple[Any, ...]]:
        address = left.pop(0) if len(left) > 1 else left[0]
        return [(2, 1, 6, "", (address, port))]

    return resolve


@pytest.fixture
def public_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if 127.0.0.1 were an address of the internet, and nothing else of 127.0.0.0/8."""
    is_public = web_connections.is_public
    monkeypatch.setattr(web_connections, "is_public", lambda text: text == "127.0.0.1" or is_public(text))


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.2", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0"),
        *("224.0.0.1", "240.0.0.1", "255.255.255.255", "192.0.2.1", "198.18.0.1"),
        *("[::1]", "[::]", "[fe80::1]", "[fec0::1]", "[fd00::1]", "[ff02::1]", "[::127.0.0.2]", "[2001:db8::1]"),
        *("[::ffff:10.0.0.1]", "[::ffff:169.254.169.254]", "[64:ff9b::a00:1]", "[2002:a00:1::]", "[2001:0:a00:1::]"),
        *("2130706434", "0x7f.2", "127.2"),  # 127.0.0.2 too
    ],
)
def test_private_addresses_are_refused_also_after_a_redirect(
    server: WebServer, web: WebFiles, public_loopback: None, address: str
) -> None:
    target = f"http://{address}:{server.port}/secret.jpg"
    server.put("/secret.jpg", BODY)
    with web_access.using(Access()):
        for url in (target, server.put("/a", status=302, headers={"Location": target})):
            with pytest.raises(Unreadable, match=r"which is not public; .* pass --allow-private-hosts") as caught:
                web.read(url)
            assert not caught.value.retryable
    assert "/secret.jpg" not in server.paths()


def test_a_name_that_changes_its_address_after_the_check(server: WebServer, public_loopback: None) -> None:
    url = server.put("/a.jpg", BODY).replace("127.0.0.1", "images.example")
    with WebServer("127.0.0.2") as inside, web_access.using(Access()):
        # The first answer is that of the check. A second look-up for the connection would lead to the private host.
        inside.put("/a.jpg", b"secret")
        web = WebFiles(QUICK, resolver("127.0.0.1", "127.0.0.2"))
        assert web.read(url)[0] == BODY
        assert web.read(url)[0] == BODY  # the connection is kept, without another look-up
        web.close()
        with pytest.raises(Unreadable, match=r"images\.example has the address 127\.0\.0\.2, which is not public"):
            web.read(url)
        assert not inside.requests
        with web_access.using(Access(private_hosts=True)), pytest.raises(Unreadable, match="no connection"):
            web.read(url)


def test_only_public_addresses_of_a_name_are_used(server: WebServer, public_loopback: None) -> None:
    def resolve(host: str, port: int, *_: Any) -> list[tuple[Any, ...]]:
        return [(2, 1, 6, "", (address, port)) for address in ("127.0.0.2", "127.0.0.1")]

    url = server.put("/a.jpg", BODY).replace("127.0.0.1", "images.example")
    with web_access.using(Access()):
        assert WebFiles(QUICK, resolve).read(url)[0] == BODY


def test_a_proxy_of_the_environment_is_not_used(
    server: WebServer, web: WebFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert web.read(server.put("/a.jpg", BODY))[0] == BODY


# Sizes and bodies


def test_a_body_larger_than_allowed_whatever_the_headers_say(server: WebServer, web: WebFiles) -> None:
    chunked = b"".join(b"%x\r\n%s\r\n" % (len(BODY), BODY) for _ in range(1000)) + b"0\r\n\r\n"
    for path, page in {
        "/declared": Page(BODY),
        "/unknown": Page(BODY * 1000, length=False),
        "/chunked": Page(chunked, headers={"Transfer-Encoding": "chunked"}),
    }.items():
        server.pages[path] = page
        with pytest.raises(TooManyBytes, match=r"more than --max-bytes 2,047") as caught:
            web.read(server.url + path, max_bytes=len(BODY) - 1)
        assert not caught.value.retryable
        if path != "/declared":
            assert web.read(server.url + path, max_bytes=len(BODY) * 1000)[0] == BODY * 1000


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip"])
def test_an_encoding_that_was_not_asked_for_is_decoded_within_the_limit(
    server: WebServer, web: WebFiles, encoding: str
) -> None:
    headers = {"Content-Encoding": encoding}
    assert web.read(server.put("/a.jpg", gzip.compress(BODY), headers=headers), max_bytes=len(BODY))[0] == BODY
    bomb = gzip.compress(bytes(100 << 20))
    with pytest.raises(TooManyBytes, match="decodes to more than --max-bytes 200,000"):
        web.read(server.put("/bomb", bomb, headers=headers), max_bytes=200_000)
    with pytest.raises(Unreadable, match="are not gzip") as caught:
        web.read(server.put("/b.jpg", BODY, headers=headers), max_bytes=len(BODY))
    assert not caught.value.retryable


def test_another_encoding_is_refused(server: WebServer, web: WebFiles) -> None:
    with pytest.raises(Unreadable, match="Content-Encoding 'br' was not asked for") as caught:
        web.read(server.put("/a.jpg", BODY, headers={"Content-Encoding": "br"}))
    assert not caught.value.retryable


@pytest.mark.parametrize("fault", ["drop", "reset", "cut"])
def test_a_body_that_ends_early_is_read_again(server: WebServer, web: WebFiles, fault: str) -> None:
    server.pages["/a.jpg"] = lambda number: Page(BODY, fault=fault if number < 2 else None)
    assert web.read(f"{server.url}/a.jpg")[0] == BODY
    server.put("/b.jpg", BODY, fault=fault)
    with pytest.raises(Unreadable) as caught:
        web.read(f"{server.url}/b.jpg")
    assert caught.value.retryable
    assert not caught.value.answered


@pytest.mark.parametrize("fault", ["drip", "stall"])
def test_a_slow_body_ends_in_time(server: WebServer, web: WebFiles, fault: str) -> None:
    start = time.monotonic()
    with pytest.raises(Unreadable, match=r"did not end within 0\.7 s; allow more time with --fetch-timeout") as caught:
        web.read(server.put("/a.jpg", BODY, fault=fault), timeout=0.7)
    assert caught.value.retryable
    assert time.monotonic() - start < 1.7


def test_a_part_that_was_not_asked_for_is_refused(server: WebServer, web: WebFiles) -> None:
    with pytest.raises(Unreadable, match="a part of the file"):
        web.read(server.put("/a.jpg", BODY, status=206))


# Statuses


@pytest.mark.parametrize(
    ("status", "error", "retryable", "requests"),
    [
        *((404, NotFound, False, 1), (410, NotFound, False, 1)),
        *((401, Unreadable, True, 1), (403, Unreadable, True, 1)),
        *((400, Unreadable, False, 1), (451, Unreadable, False, 1), (501, Unreadable, False, 1)),
        *((204, Unreadable, False, 1), (304, Unreadable, False, 1)),
        *((408, Unreadable, True, 3), (429, Unreadable, True, 3), (500, Unreadable, True, 3)),
        *((502, Unreadable, True, 3), (503, Unreadable, True, 3), (504, Unreadable, True, 3)),
    ],
)
def test_statuses(
    server: WebServer, web: WebFiles, status: int, error: type[FetchError], retryable: bool, requests: int
) -> None:
    with pytest.raises(error, match=str(status)) as caught:
        web.read(server.put("/a.jpg", b"" if status in (204, 304) else b"no", status=status))
    assert caught.value.retryable == retryable
    assert len(server.requests) == requests


def test_retry_after_is_waited_for_by_all_reads_of_the_host(server: WebServer, web: WebFiles) -> None:
    server.pages["/a.jpg"] = lambda number: Page(BODY) if number else Page(b"", 429, {"Retry-After": "1"})
    url = server.put("/b.jpg", BODY)
    seen: list[float] = []
    start = time.monotonic()

    def later() -> None:
        with web_access.using(Access(private_hosts=True)):
            time.sleep(0.2)
            web.read(url)
            seen.append(time.monotonic() - start)

    other = threading.Thread(target=later)
    other.start()
    assert web.read(f"{server.url}/a.jpg")[0] == BODY
    seen.append(time.monotonic() - start)
    other.join()
    assert all(0.9 < seconds < 2.5 for seconds in seen)
    assert len(server.requests) == 3


def test_retry_after_beyond_the_limit_ends_the_read_and_the_next_ones_at_once(server: WebServer, web: WebFiles) -> None:
    server.put("/a.jpg", b"", status=503, headers={"Retry-After": "600"})
    start = time.monotonic()
    for message in ("503 Answer, Retry-After: 600 s", "is not asked for 600 s, because it sent Retry-After"):
        with pytest.raises(Unreadable, match=message) as caught:
            web.read(f"{server.url}/a.jpg")
        assert caught.value.retryable
    assert time.monotonic() - start < 1
    assert len(server.requests) == 1


def test_retry_after_beyond_the_time_of_the_download(server: WebServer, web: WebFiles) -> None:
    server.put("/a.jpg", b"", status=429, headers={"Retry-After": "1"})
    start = time.monotonic()
    with pytest.raises(Unreadable, match="429"):
        web.read(f"{server.url}/a.jpg", timeout=0.5)
    assert time.monotonic() - start < 0.5


# Robots


@pytest.mark.parametrize("value", ["noai", "NoImageAI", "index, noimageindex", "beamsight: noindex", "none"])
def test_images_whose_server_forbids_their_use(server: WebServer, web: WebFiles, value: str) -> None:
    url = server.put("/a.jpg", BODY, headers={"X-Robots-Tag": value})
    with pytest.raises(Disallowed, match=r"X-Robots-Tag: no.*--ignore-robots-tags") as caught:
        web.read(url)
    assert not caught.value.retryable
    with web_access.using(Access(private_hosts=True, robots_tags=False)):
        assert web.read(url)[0] == BODY


@pytest.mark.parametrize("value", ["all", "nofollow", "otherbot: noai, noindex", "unavailable_after: 25 Jun 2027", ""])
def test_images_whose_server_allows_their_use(server: WebServer, web: WebFiles, value: str) -> None:
    assert web.read(server.put("/a.jpg", BODY, headers={"X-Robots-Tag": value}))[0] == BODY


# Hosts that do not answer


def test_a_host_that_does_not_answer_fails_at_once_for_a_while(server: WebServer) -> None:
    web = WebFiles(Pacing(attempts=2, patience=1.0, backoff=0.01, longest_backoff=0.02, limit=3, closed=0.5))
    server.pages["/a.jpg"] = Page(fault="drop")
    url = f"{server.url}/a.jpg"
    for _ in range(3):
        with pytest.raises(Unreadable):
            web.read(url)
    requests = len(server.requests)
    for _ in range(50):
        with pytest.raises(Unreadable, match=r"is not asked for .* because 3 reads in a row had no answer") as caught:
            web.read(url)
        assert caught.value.retryable
    assert len(server.requests) == requests == 6
    for host in ("127.0.0.2", "127.0.0.1"):
        with WebServer(host) as other:
            assert web.read(other.put("/a.jpg", BODY))[0] == BODY  # another host or port is not concerned

    time.sleep(0.55)
    with pytest.raises(Unreadable, match="Remote end closed"):
        web.read(url)  # one request
    with pytest.raises(Unreadable, match="is not asked"):
        web.read(url)
    assert len(server.requests) == 7

    time.sleep(0.55)
    server.put("/a.jpg", BODY)
    assert [web.read(url)[0] for _ in range(3)] == [BODY] * 3


def test_an_image_that_always_fails_closes_no_host(server: WebServer, web: WebFiles) -> None:
    url = server.put("/a.jpg", BODY)
    server.put("/b.jpg", b"", status=500)
    web_ = WebFiles(Pacing(attempts=1, patience=0.0, limit=2))
    for _ in range(6):
        assert web_.read(url)[0] == BODY
        with pytest.raises(Unreadable, match="500"):
            web_.read(f"{server.url}/b.jpg")


def test_a_host_that_answered_before_may_restart() -> None:
    web = WebFiles(Pacing(attempts=1, patience=10.0, backoff=0.05, longest_backoff=0.1))
    with WebServer() as server:
        url, port = server.put("/a.jpg", BODY), server.port
        web.read(url)
    with ThreadPoolExecutor(1) as pool:

        def read() -> bytes:
            with web_access.using(Access(private_hosts=True)):
                return web.read(url)[0]

        later = pool.submit(read)
        time.sleep(0.5)
        with WebServer(port=port) as server:
            server.put("/a.jpg", BODY)
            assert later.result() == BODY


def test_a_name_that_does_not_exist_is_looked_up_once(web: WebFiles) -> None:
    start = time.monotonic()
    with pytest.raises(Unreadable, match=r"images\.invalid.*") as caught:
        web.read("http://images.invalid/a.jpg")
    assert caught.value.retryable
    assert time.monotonic() - start < 5


def test_a_connection_that_is_never_made_is_tried_once() -> None:
    looked_up: list[float] = []

    def resolve(*_: Any) -> list[tuple[Any, ...]]:
        looked_up.append(time.monotonic())
        time.sleep(5)
        return []

    web = WebFiles(Pacing(connect=0.2, limit=2), resolve)
    for _ in range(2):
        with pytest.raises(Unreadable, match=r"no answer to the look-up of images\.example in the DNS") as caught:
            web.read("http://images.example/a.jpg")
        assert caught.value.retryable
    with pytest.raises(Unreadable, match="is not asked"):
        web.read("http://images.example/a.jpg")
    assert len(looked_up) == 2


# https


def test_a_certificate_that_is_not_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, web: WebFiles) -> None:
    certificate = certificates.write(tmp_path, "localhost")
    with WebServer("localhost", certificate=certificate) as server:
        url = server.put("/a.jpg", BODY)
        with pytest.raises(
            Unreadable, match=r"the certificate of localhost is not trusted: .*self.signed.*set SSL_CERT_FILE"
        ) as caught:
            web.read(url)
        assert caught.value.retryable
        assert not server.requests

        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        web_connections._context.cache_clear()
        try:
            web.close()
            for _ in range(3):
                assert web.read(url)[0] == BODY
            assert server.connections == 2  # with the one above
            with pytest.raises(Unreadable, match=r"certificate of 127\.0\.0\.1 is not trusted.*"):
                web.read(url.replace("localhost", "127.0.0.1"))  # another name than that of the certificate
            with WebServer() as plain:
                server.put("/down", status=302, headers={"Location": plain.put("/a.jpg", b"plain")})
                up = plain.put("/up", status=302, headers={"Location": url})
                with pytest.raises(Unreadable, match=r"redirects from https to http://.*, which is not encrypted"):
                    web.read(f"{server.url}/down")
                assert web.read(up)[0] == BODY
                assert plain.paths() == ["/up"]
        finally:
            web_connections._context.cache_clear()


# Everything else


@pytest.mark.parametrize("scheme", ["http", "https", "HTTPS"])
def test_all_else_is_refused(scheme: str) -> None:
    uri = f"{scheme}://h/a"
    for refused, remedy in (
        (lambda: files.open(uri), "copy the file to a disk or a bucket"),
        (lambda: files.write(uri, b""), "name a folder on a disk or in a bucket"),
        (lambda: files.create(uri), "name a folder on a disk or in a bucket"),
        (lambda: files.delete(uri), "name a folder on a disk or in a bucket"),
        (lambda: files.write_if(uri, b"", None), "name a folder on a disk or in a bucket"),
        (lambda: files.delete_if(uri, "1"), "name a folder on a disk or in a bucket"),
        (lambda: files.written_at(uri), "name a folder on a disk or in a bucket"),
        (lambda: list(files.half_written(uri)), "name a folder on a disk or in a bucket"),
        (lambda: list(files.walk(f"{uri}/")), "name the images in a manifest"),
        (lambda: list(files.glob(f"{uri}/*.jpg")), "name the images in a manifest"),
    ):
        with pytest.raises(UsageError, match=remedy):
            refused()
    assert not files.has_conditions(uri)
    files.check(uri)


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("https://", "names no host"),
        ("https:///a.jpg", "names no host"),
        ("https://h:99999/a.jpg", "not a valid URL"),
        ("https://user:password@h/a.jpg", "https://…@h/a.jpg has a user name or a password"),
        ("https://user:password@h:x/a.jpg", "https://…@h:x/a.jpg is not a valid URL"),
    ],
)
def test_uris_that_name_no_image(uri: str, message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)) as caught:
        files.check(uri)
    assert "password@" not in str(caught.value)


@pytest.mark.parametrize("seed", range(3))
def test_what_arrives_through_a_bad_network_is_right(server: WebServer, seed: int) -> None:
    """Not "short" and "corrupt": no header of the web would show them."""
    web = WebFiles(Pacing(attempts=8, patience=20.0, backoff=0.01, longest_backoff=0.05, limit=100))
    fault = faults.shower(seed, share=0.5, kinds=("drop", "reset", "cut", 500, 503, 429))
    for number in range(30):
        body = bytes([number]) * 5000

        def page(_: int, body: bytes = body) -> Page:
            found = fault("GET", "")
            return Page(b"", found) if isinstance(found, int) else Page(body, fault=found)

        server.pages[f"/{number}"] = page
    read = 0
    for number in range(30):
        with suppress(Unreadable):
            assert web.read(f"{server.url}/{number}")[0] == bytes([number]) * 5000
            read += 1
    assert read > 25
