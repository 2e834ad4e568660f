"""Dataflow on localhost: as much of its REST API as Beam's client needs to create a job and to watch it, and to launch
a Flex Template.

Nothing is run: a test sets a job's state, messages and metrics.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import datetime, timezone
from http.server import ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from loopback import JsonHandler, Loopback

_LAUNCH = r"/v1b3/projects/([^/]+)/locations/([^/]+)/flexTemplates:launch"
_JOB = r"/v1b3/projects/([^/]+)/locations/([^/]+)/jobs(?:/([^/:]+)(/metrics|/messages)?)?"


class DataflowServer(Loopback):
    """A server for as long as it is entered. created: the jobs as they were sent, by id."""

    def __init__(self) -> None:
        self.created: dict[str, dict[str, Any]] = {}
        self.launches: list[dict[str, Any]] = []  # their bodies, with project, location and token
        self.times: dict[str, str] = {}  # when they were created
        self.places: dict[str, tuple[str, str]] = {}
        self.states: list[str] = ["JOB_STATE_RUNNING"]  # one for each time that one is asked for; the last one stays
        self.asked_for: list[Any] = []  # states that jobs were to enter
        self.messages: list[dict[str, Any]] = []
        self.metrics: list[dict[str, Any]] = []
        self.refusal: tuple[int, str] | None = None
        self.after_create: Callable[[], None] | None = None  # done before the answer; if it raises, there is none
        self.looks: list[int] = []  # statuses to answer with when a job's state is asked for, one each time
        self.at_first_look: Callable[[], None] | None = None  # done when a job's state is asked for the first time
        httpd = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        httpd.dataflow = self  # type: ignore[attr-defined]
        super().__init__(httpd, "localhost")  # Beam takes no other name for a server of one's own

    @property
    def job(self) -> dict[str, Any]:
        """The one job that was sent."""
        (job,) = self.created.values()
        return job

    def count(self, name: str, value: int) -> None:
        """Have the job count something."""
        self._add(name, {"scalar": value})

    def measure(self, name: str, **distribution: int) -> None:
        """Have the job measure something: count, sum, min, max."""
        self._add(name, {"distribution": distribution})

    def use(self, **used: float) -> None:
        """Have the job use resources, as Dataflow's own metrics count them, such as ``TotalVcpuTime``."""
        for context in ({}, {"tentative": "true"}):
            name = {"origin": "dataflow/v1b3", "context": context}
            self.metrics += [{"name": {**name, "name": each}, "scalar": value} for each, value in used.items()]

    def fail(self, *messages: str) -> None:
        """Have the job fail with error messages."""
        self.states = ["JOB_STATE_FAILED"]
        self.messages = [
            {
                "id": f"{n}",
                "time": "2026-01-02T03:04:05Z",
                "messageImportance": "JOB_MESSAGE_ERROR",
                "messageText": text,
            }
            for n, text in enumerate(messages)
        ]

    def _add(self, name: str, value: dict[str, Any]) -> None:
        """Committed and tentative, as Dataflow tells of both."""
        for context in ({}, {"tentative": "true"}):
            structured = {
                "origin": "user",
                "name": name,
                "context": {"namespace": "beamsight", "step": "s1", **context},
            }
            self.metrics.append({"name": structured, **value})


class _Handler(JsonHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"] or 0)))
        server, path = self._server(), self.path.partition("?")[0]
        if found := re.fullmatch(_LAUNCH, path):
            place = {"project": found[1], "location": found[2], "token": self.headers["Authorization"]}
            server.launches.append({**body, **place})
            return self.answer(
                200, {"job": {"id": "2026-01-02_03_04_05-0", "name": body["launchParameter"]["jobName"]}}
            )
        found = re.fullmatch(_JOB, path)
        if found is None or found[3]:
            return self.answer(404, {"error": {"code": 404, "message": self.path}})
        if server.refusal:
            code, message = server.refusal
            return self.answer(code, {"error": {"code": code, "message": message}})
        job_id = f"2026-01-02_03_04_05-{len(server.created) + 1}"
        server.created[job_id] = body
        server.times[job_id] = f"{datetime.now(timezone.utc):%Y-%m-%dT%H:%M:%SZ}"
        server.places[job_id] = (found[1], found[2])
        if server.after_create:
            try:
                server.after_create()
            except ConnectionError:
                self.close_connection = True
                return None
        return self.answer(200, self._job(job_id))

    def do_PUT(self) -> None:
        """The state that is asked for becomes the state of the job."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"] or 0)))
        server, found = self._server(), re.fullmatch(_JOB, self.path.partition("?")[0])
        if found is None or server.places.get(found[3]) != (found[1], found[2]):
            return self.answer(404, {"error": {"code": 404, "message": self.path}})
        server.asked_for.append(body["requestedState"])
        server.states = ["JOB_STATE_CANCELLED"]
        return self.answer(200, self._job(found[3]))

    def do_GET(self) -> None:
        server, found = self._server(), re.fullmatch(_JOB, self.path.partition("?")[0])
        if found is not None and not found[3]:
            asked = parse_qs(urlsplit(self.path).query)
            active = server.states[0] in ("JOB_STATE_RUNNING", "JOB_STATE_QUEUED") and asked["filter"][0] in (
                "ACTIVE",
                "3",
            )
            there = [job for job, place in server.places.items() if place == (found[1], found[2])]
            return self.answer(200, {"jobs": [self._job(job) for job in there] if active else []})
        if found is None or server.places.get(found[3]) != (found[1], found[2]):
            return self.answer(404, {"error": {"code": 404, "message": self.path}})
        if found[4] == "/metrics":
            return self.answer(200, {"metrics": server.metrics})
        if found[4] == "/messages":
            return self.answer(200, {"jobMessages": server.messages})
        if server.looks:
            return self.answer(status := server.looks.pop(0), {"error": {"code": status, "message": "for a test"}})
        if server.at_first_look:
            meanwhile, server.at_first_look = server.at_first_look, None
            meanwhile()
        if len(server.states) > 1:
            server.states.pop(0)
        return self.answer(200, self._job(found[3]))

    def _job(self, job_id: str) -> dict[str, Any]:
        server = self._server()
        sent = {key: server.created[job_id][key] for key in ("name", "clientRequestId")}
        return {"id": job_id, "currentState": server.states[0], "createTime": server.times[job_id], **sent}

    def _server(self) -> DataflowServer:
        return self.server.dataflow  # type: ignore[attr-defined]
