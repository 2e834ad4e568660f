"""Google Cloud Storage on 127.0.0.1: gcp-storage-emulator behind a threaded server that can be made to fail.

What the emulator leaves out and the tests need is added in front of it: generations and preconditions, the
headers of a download, key ranges and pages of a listing, connections that are kept open, faults, delays, and a log of
the requests.
"""

from __future__ import annotations

import base64
import gc
import io
import json
import logging
import re
import sys
import threading
import time
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from http.server import ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import google_crc32c
from faults import Fault, spoil
from gcp_storage_emulator.handlers.buckets import create_bucket
from gcp_storage_emulator.server import RequestHandler, Router
from gcp_storage_emulator.storage import Storage
from loopback import Loopback

logging.getLogger("gcp_storage_emulator").setLevel(logging.CRITICAL)  # it warns at every answer

# (method, path with its query) -> what is wrong with the answer, see ``faults``; None for the right answer.
# A request whose answer is "drop" or a status is not carried out. Any other fault spoils the answer alone.
Faults = Callable[[str, str], "Fault | None"]


class GcsServer(Loopback):
    """A server for as long as it is entered. ``reset`` before each test."""

    def __init__(self) -> None:
        self.storage = _Storage(use_memory_fs=True)
        self._lock = threading.Lock()  # the emulator's storage is not made for threads
        self._count = threading.Condition()
        self.now = 0  # requests being answered
        httpd = _Server(("127.0.0.1", 0), _Handler)
        httpd.gcs = self
        super().__init__(httpd)
        self.reset()

    def reset(self) -> None:
        self.faults: Faults | None = None
        self.delay = 0.0  # seconds before each answer
        self.without_hashes = False  # as from behind a proxy that keeps only what it knows
        self.gather = 0  # no request is answered until this many have arrived together
        self.requests: list[tuple[str, str]] = []
        self.peak = self.now  # the most requests that were answered at once; one of an earlier test may not have ended
        self.connections = 0  # opened since

    def media(self) -> list[str]:
        """The paths of all downloads so far."""
        return [path for method, path in self.requests if method == "GET" and "alt=media" in path]

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Have the storage to oneself.

        Without garbage collection: it may find an upload that a client gave up, whose finalizer sends it to this
        very server and waits for the answer.
        """
        with self._lock:
            collecting = gc.isenabled()
            gc.disable()
            try:
                yield
            finally:
                if collecting:
                    gc.enable()

    @contextmanager
    def counted(self, method: str, path: str) -> Iterator[None]:
        with self._count:
            self.requests.append((method, path))
            self.now += 1
            self.peak = max(self.peak, self.now)
            self._count.notify_all()
            self._count.wait_for(lambda: self.peak >= self.gather, timeout=30)
        try:
            time.sleep(self.delay)
            yield
        finally:
            with self._count:
                self.now -= 1


@dataclass(frozen=True)
class Bucket:
    """A bucket, filled and looked into without a request."""

    gcs: GcsServer
    name: str

    @classmethod
    def made(cls, gcs: GcsServer, name: str) -> Bucket:
        with gcs.alone():
            create_bucket(name, gcs.storage)
        return cls(gcs, name)

    def uri(self, name: str) -> str:
        return f"gs://{self.name}/{name}"

    def put(self, name: str, data: bytes, *, encoding: str | None = None) -> str:
        """Store an object; -> its generation."""
        now = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        with self.gcs.alone():
            generation = str(time.time_ns())
            resource = {
                "kind": "storage#object",
                "name": name,
                "bucket": self.name,
                "generation": generation,
                "metageneration": "1",
                "contentType": "application/octet-stream",
                "contentEncoding": encoding,
                "size": str(len(data)),
                "crc32c": base64.b64encode(google_crc32c.Checksum(data).digest()).decode(),
                "md5Hash": None,
                "etag": generation,
                "timeCreated": now,
                "updated": now,
                "storageClass": "STANDARD",
            }
            self.gcs.storage.create_file(self.name, name, data, resource)
        return generation

    def get(self, name: str) -> bytes:
        with self.gcs.alone():
            return bytes(self.gcs.storage.get_file(self.name, name))

    def names(self) -> list[str]:
        with self.gcs.alone():
            return sorted(self.gcs.storage.objects.get(self.name, {}))

    def delete(self, name: str) -> None:
        with self.gcs.alone():
            self.gcs.storage.delete_file(self.name, name)


class _Storage(Storage):
    def _write_config_to_file(self) -> None:
        pass  # all of it anew at each change, for a server that will start again


class _Server(ThreadingHTTPServer):
    request_queue_size = 256
    gcs: GcsServer

    def process_request(self, request: Any, client_address: Any) -> None:
        self.gcs.connections += 1
        super().process_request(request, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], ConnectionError):  # a client that went away is none of ours
            super().handle_error(request, client_address)


class _Handler(RequestHandler):
    protocol_version = "HTTP/1.1"  # connections stay open, as those of the real one
    disable_nagle_algorithm = True
    wbufsize = -1
    rfile: Any
    wfile: Any
    connection: Any

    def __init__(self, request: Any, client_address: Any, server: _Server) -> None:
        self.gcs = server.gcs
        super().__init__(self.gcs.storage, request, client_address, server)

    def do_GET(self) -> None:
        self._answer("GET")

    def do_POST(self) -> None:
        self._answer("POST")

    def do_PUT(self) -> None:
        self._answer("PUT")

    def do_PATCH(self) -> None:
        self._answer("PATCH")

    def do_DELETE(self) -> None:
        self._answer("DELETE")

    def _answer(self, method: str) -> None:
        self.object: dict[str, Any] | None = None
        streams = self.rfile, self.wfile
        body = self.rfile.read(int(self.headers["Content-Length"] or 0)) if self._has_length() else b""
        with self.gcs.counted(method, self.path):
            fault = self.gcs.faults(method, self.path) if self.gcs.faults else None
            try:
                if self._has_length():
                    self.rfile = io.BytesIO(body)
                self.wfile = io.BytesIO()
                if fault != "drop":
                    with self.gcs.alone():
                        status = fault if isinstance(fault, int) else self._precondition(method, body)
                        if status is None:
                            self._route(method)
                        else:
                            self._refuse(status)
                answer = self.wfile.getvalue()
            finally:
                self.rfile, self.wfile = streams
            if isinstance(fault, str):
                self.close_connection |= not spoil(fault, self.connection, answer)
            else:
                self.wfile.write(answer)
                self.wfile.flush()

    def _route(self, method: str) -> None:
        listing = re.fullmatch(r"/storage/v1/b/([^/]+)/o", urlsplit(self.path).path) if method == "GET" else None
        if listing and listing[1] in self.gcs.storage.buckets:
            self._send(200, self._list(listing[1]))
        else:
            Router(self).handle(method)

    def _has_length(self) -> bool:
        return "Content-Length" in self.headers

    def _precondition(self, method: str, body: bytes) -> int | None:
        """The status of a request for another generation than the one there is, else None."""
        url = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        bucket, name = _named(url.path, query, body)
        found = self.gcs.storage.objects.get(bucket, {}).get(name)
        generation = found["generation"] if found else "0"
        if "ifGenerationMatch" in query and query["ifGenerationMatch"] != generation:
            return 412
        if "generation" in query and "softDeleted" not in query and query["generation"] != generation:
            return 404
        if method == "GET" and query.get("alt") == "media":
            self.object = found
        return None

    def _list(self, bucket: str) -> dict[str, Any]:
        """A page of a listing, sorted as the real one: by name, with folders counted as names."""
        query = {key: values[0] for key, values in parse_qs(urlsplit(self.path).query).items()}
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter")
        objects = self.gcs.storage.objects.get(bucket, {})
        names = sorted(objects)  # in the order of their UTF-8 bytes
        start = bisect_left(names, max(prefix, query.get("startOffset", "")))
        if "pageToken" in query:
            start = max(start, bisect_right(names, query["pageToken"]))
        items: list[Any] = []
        prefixes: list[str] = []
        last = None
        for name in names[start:]:
            if not name.startswith(prefix) or ("endOffset" in query and name >= query["endOffset"]):
                break
            inside, slash, _ = name[len(prefix) :].partition(delimiter) if delimiter else ("", "", "")
            folder = prefix + inside + slash if slash else None
            if folder is None or folder not in prefixes[-1:]:
                if len(items) + len(prefixes) == int(query.get("maxResults", 1_000)):
                    return {"items": items, "prefixes": prefixes, "nextPageToken": last}
                (items if folder is None else prefixes).append(objects[name] if folder is None else folder)
            last = name
        return {"items": items, "prefixes": prefixes}

    def _refuse(self, status: int) -> None:
        self._send(status, {"error": {"code": status, "message": f"status {status} for a test"}})

    def _send(self, status: int, answer: dict[str, Any]) -> None:
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def send_header(self, keyword: str, value: str) -> None:
        if keyword != "X-Goog-Hash" or not self.gcs.without_hashes:
            super().send_header(keyword, value.removesuffix(",md5=None"))  # as ours are stored without

    def end_headers(self) -> None:
        if self.object is not None:
            encoding = self.object.get("contentEncoding")
            self.send_header("X-Goog-Generation", self.object["generation"])
            self.send_header("X-Goog-Stored-Content-Encoding", encoding or "identity")
            self.send_header("X-Goog-Stored-Content-Length", self.object["size"])
            if encoding:
                self.send_header("Content-Encoding", encoding)
        super().end_headers()


def _named(path: str, query: dict[str, str], body: bytes) -> tuple[str, str]:
    """The bucket and the object that a request is about; empty where it is about none."""
    found = re.fullmatch(r"(?:.*/(?:copyTo|rewriteTo)|[/\w]*?)/b/([^/]+)/o(?:/(.+))?", path)
    if found is None:
        return "", ""
    if found[2] is not None:
        return found[1], unquote(found[2])
    if "name" in query:
        return found[1], query["name"]
    name = re.search(rb'"name":\s*("(?:[^"\\]|\\.)*")', body)  # in the metadata, the first part of an upload
    return found[1], json.loads(name[1]) if name else ""
