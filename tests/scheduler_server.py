"""Cloud Scheduler on localhost: as much of its REST API as Google's client needs to keep jobs, and their launches.

Nothing starts by itself: ``fire`` sends a job's request, as its time would.
"""

from __future__ import annotations

import base64
import json
import re
import urllib.request
from http.server import ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from loopback import JsonHandler, Loopback

_JOBS = re.compile(r"/v1/(projects/[^/]+/locations/([^/]+)/jobs)(?:/([^/:]+))?")
LOCATIONS = ("europe-west1", "europe-west4")


class SchedulerServer(Loopback):
    """A server for as long as it is entered. jobs: as they were sent, by their full names."""

    def __init__(self) -> None:
        self.jobs: dict[str, dict[str, Any]] = {}
        self.asked: list[str] = []  # method and path
        self.refusal: tuple[int, str, str] | None = None  # code, status, message
        self.busy = 0  # so many requests are answered with 503 first
        httpd = ThreadingHTTPServer(("localhost", 0), _Handler)
        httpd.scheduler = self  # type: ignore[attr-defined]
        super().__init__(httpd, "localhost")

    @property
    def job(self) -> dict[str, Any]:
        """The one job that there is."""
        (job,) = self.jobs.values()
        return job

    def fire(self, name: str) -> Any:
        """What a job's time would do: its request, with a token of its service account -> the answer."""
        target = self.jobs[name]["httpTarget"]
        assert target["oauthToken"]["scope"] == "https://www.googleapis.com/auth/cloud-platform"
        request = urllib.request.Request(
            target["uri"],
            data=base64.b64decode(target["body"]),
            headers={**target["headers"], "Authorization": f"Bearer {target['oauthToken']['serviceAccountEmail']}"},
            method={1: "POST", 2: "GET"}[target["httpMethod"]],  # numbers, as the client asks for them
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)


class _Handler(JsonHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        job = self._body()
        server, found = self._found()
        if found is None or found[3]:
            return self._missing()
        if job["name"] in server.jobs:
            return self.answer(409, {"error": {"code": 409, "status": "ALREADY_EXISTS", "message": job["name"]}})
        server.jobs[job["name"]] = job | {
            "state": "ENABLED",
            "userUpdateTime": "2026-11-20T10:00:00Z",
            "scheduleTime": "2026-11-21T01:30:00Z",
        }
        return self.answer(200, server.jobs[job["name"]])

    def do_PATCH(self) -> None:
        job = self._body()
        server, found = self._found()
        name = found and f"{found[1]}/{found[3]}"
        if name not in server.jobs:
            return self._missing()
        (mask,) = parse_qs(urlsplit(self.path).query)["updateMask"]
        for field in mask.split(","):
            server.jobs[name].pop(field, None)
            if field in job:
                server.jobs[name][field] = job[field]
        return self.answer(200, server.jobs[name])

    def do_GET(self) -> None:
        server, found = self._found()
        job = found and server.jobs.get(f"{found[1]}/{found[3]}")
        return self.answer(200, job) if job else self._missing()

    def do_DELETE(self) -> None:
        server, found = self._found()
        job = found and server.jobs.pop(f"{found[1]}/{found[3]}", None)
        return self.answer(200, {}) if job else self._missing()

    def _body(self) -> dict[str, Any]:
        return dict(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

    def _found(self) -> tuple[SchedulerServer, re.Match[str] | None]:
        """The server, and the parts of the path where it is one of a place that it has."""
        server: SchedulerServer = self.server.scheduler  # type: ignore[attr-defined]
        path = urlsplit(self.path).path
        server.asked.append(f"{self.command} {path}")
        found = _JOBS.fullmatch(path)
        refused = server.refusal or server.busy
        return server, found if found and found[2] in LOCATIONS and not refused else None

    def _missing(self) -> None:
        server: SchedulerServer = self.server.scheduler  # type: ignore[attr-defined]
        code, status, message = server.refusal or (404, "NOT_FOUND", "Requested entity was not found.")
        if server.busy:
            server.busy -= 1
            code, status, message = 503, "UNAVAILABLE", "The service is currently unavailable."
        self.answer(code, {"error": {"code": code, "status": status, "message": message}})
