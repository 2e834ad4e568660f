"""A whole run on a manifest of web images that answer in all ways."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import tables
from web_server import Page, WebServer

from runners.cli import app, codes
from transforms.imaging import drawn

GOOD = [drawn.encode(drawn.draw(number, 90 + number, 60)) for number in range(12)]


@pytest.fixture
def server() -> Iterator[WebServer]:
    with WebServer() as server:
        yield server


def command(tmp_path: Path, uris: list[str], classifier: str, *options: str) -> list[str]:
    (tmp_path / "list.txt").write_text("".join(f"{uri}\n" for uri in uris), encoding="utf-8")
    return [
        *("run", "--images", str(tmp_path / "list.txt"), "--output", str(tmp_path / "out"), "--embedder", "none"),
        *("--classifier", classifier, "--max-failures", "100%", "--quiet", *options),
    ]


def failures(tmp_path: Path) -> dict[str, tuple[str, bool, int]]:
    rows = tables.rows(tmp_path / "out", "failures", tmp_path)
    return {row["uri"]: (row["error"], row["retryable"], row["attempt"]) for row in rows}


def test_every_line_ends_as_a_row_or_a_failure(server: WebServer, tmp_path: Path, tiny_classifier: str) -> None:
    picture = GOOD[0]
    versions = {
        server.put("/etag.jpg", GOOD[1], headers={"ETag": '"one"'}): "one",
        server.put("/date.jpg", GOOD[2], headers={"Last-Modified": "Fri, 20 Nov 2026 10:00:00 GMT"}): (
            "2026-11-20T10:00:00Z"
        ),
        server.put("/weak.jpg", GOOD[3], headers={"ETag": 'W/"two"'}): "W/two",
        server.put("/no-version.jpg", GOOD[4]): "sha256-",
        server.put("/moved.jpg", status=301, headers={"Location": "/etag.jpg"}): "one",
        server.put("/zipped.jpg", gzip.compress(GOOD[5]), headers={"Content-Encoding": "gzip", "ETag": '"3"'}): "3",
        server.put("/another robot.jpg?q=a%20b".replace(" ", "%20"), GOOD[6], headers={"X-Robots-Tag": "x: noai"}): (
            "sha256-"
        ),
    }
    server.pages["/busy.jpg"] = lambda earlier: Page(GOOD[7]) if earlier else Page(b"", 429, {"Retry-After": "1"})
    server.pages["/flaky.jpg"] = lambda earlier: Page(GOOD[8], fault=None if earlier else "cut")
    versions |= {f"{server.url}/busy.jpg": "sha256-", f"{server.url}/flaky.jpg": "sha256-"}
    bomb = gzip.compress(bytes(50 << 20))
    broken = {
        f"{server.url}/none.jpg": ("NotFound", True),
        server.put("/gone.jpg", status=410): ("NotFound", True),
        server.put("/secret.jpg", status=403): ("Unreadable", True),
        server.put("/teapot.jpg", status=418): ("Unreadable", False),
        server.put("/noai.jpg", picture, headers={"X-Robots-Tag": "noai"}): ("Disallowed", False),
        server.put("/page.html", b"<html>sign in</html>"): ("NotAnImage", False),
        server.put("/empty.jpg"): ("EmptyFile", False),
        server.put("/large.jpg", bytes(2_000_000)): ("TooManyBytes", False),
        server.put("/endless.jpg", bytes(2_000_000), length=False): ("TooManyBytes", False),
        server.put("/bomb.jpg", bomb, headers={"Content-Encoding": "gzip"}): ("TooManyBytes", False),
        server.put("/slow.jpg", picture, fault="drip"): ("Unreadable", True),
        server.put("/loop.jpg", status=302, headers={"Location": "/loop.jpg"}): ("Unreadable", False),
        server.put("/ftp.jpg", status=302, headers={"Location": "ftp://h/a.jpg"}): ("Unreadable", False),
        "http://images.invalid/a.jpg": ("Unreadable", True),
    }
    faulty = ["https://user:password@h/a.jpg", "https://"]
    options = ["--allow-private-hosts", "--max-bytes", "1000000", "--fetch-timeout", "4"]
    arguments = command(tmp_path, [*versions, *broken, *faulty], tiny_classifier, *options)
    assert app.main(arguments) == codes.DONE

    rows = tables.by_uri(tables.rows(tmp_path / "out", "predictions", tmp_path))
    assert rows.keys() == versions.keys()
    assert all(rows[uri]["version"].startswith(version) for uri, version in versions.items())
    found = failures(tmp_path)
    lines = {f"{tmp_path}/list.txt:{len(versions) + len(broken) + number}": ("ListError", False) for number in (1, 2)}
    assert found == {uri: (*reason, 1) for uri, reason in (broken | lines).items()}
    assert "user:password" not in json.dumps(tables.rows(tmp_path / "out", "failures", tmp_path), default=str)

    # The second run tries what may succeed now, and nothing else.
    server.requests.clear()
    server.put("/none.jpg", GOOD[9])
    assert app.main(arguments) == codes.DONE
    transient = {uri for uri, (_, retryable) in broken.items() if retryable}
    assert {server.url + path for path in server.paths()} == transient - {"http://images.invalid/a.jpg"}
    rows = tables.by_uri(tables.rows(tmp_path / "out", "predictions", tmp_path))
    assert rows.keys() == versions.keys() | {f"{server.url}/none.jpg"}
    again = [row for row in tables.rows(tmp_path / "out", "failures", tmp_path) if row["attempt"] == 2]
    assert {row["uri"] for row in again} == transient - {f"{server.url}/none.jpg"}


def test_private_hosts_and_redirects_to_them_are_refused(
    server: WebServer, tmp_path: Path, tiny_classifier: str
) -> None:
    urls = [server.put("/a.jpg", GOOD[0]), "http://169.254.169.254/latest/meta-data", "http://[::1]:1/a.jpg"]
    assert app.main(command(tmp_path, urls, tiny_classifier)) == codes.DONE
    assert failures(tmp_path) == dict.fromkeys(urls, ("Unreadable", False, 1))
    assert not server.requests
    arguments = command(tmp_path, urls, tiny_classifier, "--allow-private-hosts", "--retry-failed", "--per-host", "1")
    assert app.main(arguments) == codes.DONE
    assert len(tables.rows(tmp_path / "out", "predictions", tmp_path)) == 1


def test_a_dead_host_among_others_stops_nothing(server: WebServer, tmp_path: Path, tiny_classifier: str) -> None:
    dead = [f"http://127.0.0.9:9/{number}.jpg" for number in range(200)]  # nobody listens there
    silent = [server.put(f"/{number}.jpg", fault="drop") for number in range(200)]
    with WebServer("127.0.0.2") as other:
        good = [other.put(f"/{number}.jpg", body) for number, body in enumerate(GOOD)]
        arguments = command(tmp_path, [*dead, *silent, *good], tiny_classifier, "--allow-private-hosts")
        assert app.main(arguments) == codes.DONE
        assert other.peak["127.0.0.2"] <= 8
    assert {row["uri"] for row in tables.rows(tmp_path / "out", "predictions", tmp_path)} == set(good)
    assert failures(tmp_path) == dict.fromkeys([*dead, *silent], ("Unreadable", True, 1))
    assert len(server.requests) < 100  # a few reads with three attempts each, and then none


def test_the_whole_list_on_a_dead_host_stops_nothing(tmp_path: Path, tiny_classifier: str) -> None:
    dead = [f"http://127.0.0.9:9/{number}.jpg" for number in range(30)]
    arguments = command(tmp_path, dead, tiny_classifier, "--allow-private-hosts", "--max-attempts", "2")
    for attempt in (1, 2, 2):
        assert app.main(arguments) == codes.DONE
        rows = tables.rows(tmp_path / "out", "failures", tmp_path)
        assert max(row["attempt"] for row in rows) == attempt
        assert len(rows) == 30 * attempt or {row["attempt"] for row in rows} == {attempt}


@pytest.mark.parametrize("option", ["--images", "--output", "--classifier"])
def test_the_web_is_no_source_no_output_and_no_bundle(
    tmp_path: Path, tiny_classifier: str, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = command(tmp_path, ["https://127.0.0.1:9/a.jpg"], tiny_classifier)
    assert app.main([*arguments, f"{option}=https://127.0.0.1:9/a"]) == codes.WRONG_USE
    message = {
        "--images": "name the images in a manifest",
        "--output": "name a folder on a disk or in a bucket",
        "--classifier": "copy its files to one",
    }[option]
    assert message in capsys.readouterr().err


def test_robots_tags_can_be_ignored(server: WebServer, tmp_path: Path, tiny_classifier: str) -> None:
    url = server.put("/a.jpg", GOOD[0], headers={"X-Robots-Tag": "noindex"})
    options = ["--allow-private-hosts", "--ignore-robots-tags"]
    assert app.main(command(tmp_path, [url], tiny_classifier, *options)) == codes.DONE
    assert len(tables.rows(tmp_path / "out", "predictions", tmp_path)) == 1


def test_the_versions_of_web_images_are_looked_up(server: WebServer, tmp_path: Path, tiny_classifier: str) -> None:
    urls = [server.put(f"/{number}.jpg", GOOD[number], headers={"ETag": '"1"'}) for number in range(4)]
    urls.append(server.put("/none.jpg", GOOD[4]))  # without a version, it counts as unchanged
    arguments = command(tmp_path, urls, tiny_classifier, "--allow-private-hosts", "--check-versions")
    assert app.main(arguments) == codes.DONE
    server.put("/2.jpg", GOOD[5], headers={"ETag": '"2"'})
    server.put("/none.jpg", GOOD[6])
    server.requests.clear()
    assert app.main(arguments) == codes.DONE
    assert [path for method, path, headers in server.requests if method == "GET" and "range" not in headers] == [
        "/2.jpg"
    ]
    rows = tables.rows(tmp_path / "out", "predictions", tmp_path)
    assert sorted(row["version"] for row in rows if row["uri"] == urls[2]) == ["1", "2"]
    assert len(rows) == 6
