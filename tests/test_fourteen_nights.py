"""Fourteen nights that nobody watches, by the command, on gs:// over HTTP, and what is left of them in the morning."""

from __future__ import annotations

import io
import json
import random
import re
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest
import tables
from gcs_server import Bucket
from started import Running

from runners.cli import app, codes
from transforms.imaging import drawn

TABLES = Path(__file__).parents[1] / "docs" / "tables.md"
TODAY = datetime.now(timezone.utc).date()


def night(number: int) -> date:
    """The first of fourteen is 1, and the last one is today."""
    return TODAY - timedelta(days=14 - number)


@dataclass
class Place:
    """A bucket with a folder a day and one that changes, a file of options, and the reports of the runs."""

    bucket: Bucket
    config: Path
    pictures: int = 0
    seen: set[str] = field(default_factory=set)

    def put(self, name: str, data: bytes | None = None) -> None:
        """Store a picture that no other is like."""
        self.pictures += 1
        self.bucket.put(name, drawn.encode(drawn.draw(self.pictures, 64, 48)) if data is None else data)

    def photos(self, number: int, count: int = 3) -> None:
        """New pictures of a night."""
        for index in range(count):
            self.put(f"photos/{night(number):%Y/%m/%d}/{index}.jpg")

    def words(self, number: int, *options: str) -> list[str]:
        return ["nightly", "--config", str(self.config), "--date", f"{night(number)}", *options]

    def run(self, number: int, *options: str) -> dict[str, Any]:
        """A night in this process -> its report."""
        assert app.main(self.words(number, *options)) == codes.DONE
        return self.report(number)

    def start(self, number: int, *options: str) -> Running:
        """A night in a process of its own."""
        return Running(self.words(number, *options))

    def report(self, number: int) -> dict[str, Any]:
        """The one report that is new since the last was asked for; a page can be made of it."""
        (new,) = {name for name in self.bucket.names() if name.startswith("out/runs/")} - self.seen
        self.seen.add(new)
        found: dict[str, Any] = json.loads(self.bucket.get(new))
        assert f"{night(number)}" in found["options"]["night"]["days"]
        assert app.main(["report", self.bucket.uri("out"), "--run", found["run_id"]]) == codes.DONE
        assert f"out/reports/{found['run_id']}.html" in self.bucket.names()
        return found

    def now(self) -> set[tuple[str, str]]:
        """URIs and generations of the pictures that there are."""
        with self.bucket.gcs.alone():
            objects = self.bucket.gcs.storage.objects[self.bucket.name]
            return {
                (self.bucket.uri(name), found["generation"])
                for name, found in objects.items()
                if name.startswith(("photos/", "desk/"))
            }

    def rows(self, table: str, scratch: Path, output: str = "out") -> tables.Rows:
        """Rows of ``out``, or of a copy of it."""
        if output == "out":
            return tables.rows(self.bucket, table, scratch)
        return tables.rows(self.copy(scratch, output), table, scratch)

    def copy(self, scratch: Path, output: str) -> Path:
        """An output in the bucket -> the same on the disk."""
        to = scratch / "copy-of" / output
        for name in self.bucket.names():
            if name.startswith(f"{output}/"):
                path = to / name.removeprefix(f"{output}/")
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(self.bucket.get(name))
        return to


@pytest.fixture
def place(bucket: Bucket, tmp_path: Path, tiny_classifier: str, tiny_embedder: str) -> Place:
    config = tmp_path / "nights.toml"
    config.write_text(
        f"""
        images = ["{bucket.uri("photos")}/{{date:%Y/%m/%d}}/**", "{bucket.uri("desk")}/**"]
        output = "{bucket.uri("out")}"
        classifier = "{tiny_classifier}"
        embedder = "{tiny_embedder}"
        max_failures = "50%"
        """,
        encoding="utf-8",
    )
    return Place(bucket, config)


def days(report: dict[str, Any]) -> list[str]:
    return list(report["options"]["night"]["days"])


def iso(*numbers: int) -> list[str]:
    return [f"{night(number)}" for number in numbers]


def half_the_time(down: Callable[[str], bool]) -> Callable[[str, str], int | None]:
    """503 for every other request, in no order, and always for what is ``down``."""
    dice = random.Random(5)
    return lambda method, path: 503 if down(path) or dice.random() < 0.5 else None


def first_night_all_images_are_new(place: Place) -> None:
    """The days before the first night are not missing."""
    place.photos(1)
    for index in range(6):
        place.put(f"desk/{index}.jpg")
    report = place.run(1)
    assert (report["state"], days(report), report["counts"]["images"]) == ("done", iso(1), 9)


def second_night_images_are_new_and_changed(place: Place) -> None:
    place.photos(2)
    place.put("desk/0.jpg")
    place.put("desk/1.jpg")
    report = place.run(2)
    assert days(report) == iso(2)
    assert (report["counts"]["images"], report["counts"]["already_done"]) == (3 + 2, 4)


def third_night_images_are_deleted_and_one_is_broken(place: Place) -> None:
    """No later night tries the broken image again."""
    place.photos(3)
    place.put("desk/broken.jpg", b"this is no picture")
    place.bucket.delete("desk/2.jpg")
    place.bucket.delete(f"photos/{night(1):%Y/%m/%d}/0.jpg")
    report = place.run(3)
    assert (report["counts"]["images"], report["counts"]["failed"]) == (3 + 1, {"decode": 1})
    assert report["counts"]["failed_for_now"] == 0


def fourth_night_has_no_images_yet(place: Place) -> None:
    report = place.run(4)
    assert (days(report), report["options"]["night"]["waiting"]) == (iso(4), iso(4))
    assert (report["counts"]["images"], report["counts"]["failed_before"]) == (0, 1)


def is_download_of_unavailable_image(path: str) -> bool:
    name = f"{night(5):%Y/%m/%d}/1.jpg".replace("/", "%2F")
    return name in path and "alt=media" in path


def fifth_night_half_of_the_requests_fail(place: Place) -> None:
    """The images of the day before are late, and one image is unavailable."""
    place.photos(4)
    place.photos(5)
    place.bucket.gcs.faults = half_the_time(is_download_of_unavailable_image)
    assert app.main(place.words(5)) == codes.DONE
    place.bucket.gcs.faults = None
    report = place.report(5)
    assert days(report) == iso(4, 5)
    assert report["counts"]["failed_for_now"] == 1
    assert report["counts"]["images"] == 6


def sixth_night_image_is_still_unavailable(place: Place, scratch: Path) -> None:
    """The image is tried again, and the attempts are counted."""
    place.photos(6)
    place.bucket.gcs.faults = lambda method, path: 503 if is_download_of_unavailable_image(path) else None
    assert app.main(place.words(6)) == codes.DONE
    place.bucket.gcs.faults = None
    report = place.report(6)
    assert days(report) == iso(4, 5, 6)
    assert (report["counts"]["images"], report["counts"]["failed_for_now"]) == (4, 1)
    failures = [row for row in place.rows("failures", scratch) if row["retryable"]]
    uri = place.bucket.uri(f"photos/{night(5):%Y/%m/%d}/1.jpg")
    assert {(row["uri"], row["stage"]) for row in failures} == {(uri, "fetch")}
    assert sorted(row["attempt"] for row in failures) == [1, 2]


def seventh_night_image_is_available_again(place: Place) -> None:
    place.photos(7)
    report = place.run(7)
    assert days(report) == iso(4, 5, 6, 7)
    assert (report["counts"]["images"], report["counts"]["failed"]) == (4, {})


def ninth_night_catches_up_on_the_eighth(place: Place) -> None:
    """Nobody starts a run on the eighth night."""
    place.photos(8)
    place.photos(9)
    report = place.run(9)
    assert (days(report), report["counts"]["images"]) == (iso(8, 9), 6)


def tenth_night_run_is_killed(place: Place, scratch: Path) -> int:
    """Return the number of rows of embeddings that the killed run leaves."""
    place.photos(10, 30)
    place.bucket.gcs.delay = 0.05
    killed = place.start(10, "--unit-size", "2")
    while killed.poll() is None and len(tables.units_of(place.bucket, "embeddings")) < 3:
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL
    place.bucket.gcs.delay = 0
    units = [io.BytesIO(place.bucket.get(name)) for name in tables.units_of(place.bucket, "embeddings")]
    rows = len(place.rows("embeddings", scratch)) + sum(pq.read_metadata(unit).num_rows for unit in units)
    report = place.report(10)
    assert (report["state"], report["finished_at"], days(report)) == ("running", None, iso(10))
    return rows


def eleventh_night_completes_the_tenth(place: Place, scratch: Path, rows_before: int) -> None:
    place.photos(11)
    report = place.run(11)
    assert days(report) == iso(10, 11)
    assert 3 < report["counts"]["images"] <= 3 + 30 - 3
    assert len(place.rows("embeddings", scratch)) == rows_before + report["counts"]["ok"][embeddings(report)]


def twelfth_night_is_started_twice(place: Place) -> None:
    """No image can be read until one of the two runs has ended because the other holds the lock."""
    place.photos(12)
    one_has_ended = threading.Event()
    folder = f"{night(12):%Y/%m/%d}".replace("/", "%2F")
    place.bucket.gcs.faults = lambda _, path: (
        500 if folder in path and "alt=media" in path and not one_has_ended.wait(60) else None
    )
    both = [place.start(12) for _ in range(2)]
    while all(each.poll() is None for each in both):
        time.sleep(0.01)
    first_codes = [each.poll() for each in both]
    one_has_ended.set()
    errors = [each.communicate()[1] for each in both]
    place.bucket.gcs.faults = None
    assert codes.LOCKED in first_codes, errors
    assert {each.returncode for each in both} == {codes.DONE, codes.LOCKED}, errors
    report = place.report(12)
    assert (report["state"], report["counts"]["images"]) == ("done", 3)


def thirteenth_night_images_are_changed_and_deleted(place: Place) -> None:
    place.photos(13)
    place.put("desk/0.jpg")
    place.bucket.delete("desk/3.jpg")
    place.bucket.delete(f"photos/{night(13):%Y/%m/%d}/2.jpg")
    report = place.run(13)
    assert (days(report), report["counts"]["images"]) == (iso(13), 2 + 1)


def last_night_runs_twice(place: Place) -> None:
    """Its day is today, which has not ended yet."""
    place.photos(14)
    report = place.run(14)
    assert (days(report), report["counts"]["images"]) == (iso(14), 3)
    report = place.run(14)
    assert (report["counts"]["images"], report["counts"]["failed_before"]) == (0, 1)


def test_fourteen_nights(quick_retries: object, place: Place, tmp_path: Path) -> None:
    first_night_all_images_are_new(place)
    second_night_images_are_new_and_changed(place)
    third_night_images_are_deleted_and_one_is_broken(place)
    fourth_night_has_no_images_yet(place)
    fifth_night_half_of_the_requests_fail(place)
    sixth_night_image_is_still_unavailable(place, tmp_path)
    seventh_night_image_is_available_again(place)
    ninth_night_catches_up_on_the_eighth(place)
    rows = tenth_night_run_is_killed(place, tmp_path)
    eleventh_night_completes_the_tenth(place, tmp_path, rows)
    twelfth_night_is_started_twice(place)
    thirteenth_night_images_are_changed_and_deleted(place)
    last_night_runs_twice(place)
    require_as_fresh(place, tmp_path)
    require_newest_by_the_query_of_the_docs(place, tmp_path)


def embeddings(report: dict[str, Any]) -> str:
    return next(table for table in report["models"] if table.startswith("embeddings/"))


def require_as_fresh(place: Place, scratch: Path) -> None:
    """What exists now has the rows that a run into an empty output gives it, and nothing stands twice."""
    words = ["run", "--images", place.bucket.uri("photos/**"), "--images", place.bucket.uri("desk/**")]
    models = [
        word
        for line in place.config.read_text().splitlines()
        if (found := re.match(r'\s*(classifier|embedder) = "(.+)"', line))
        for word in (f"--{found[1]}", found[2])
    ]
    assert app.main([*words, *models, "--output", place.bucket.uri("fresh"), "--max-failures", "50%"]) == codes.DONE
    now = place.now()
    for table in ("predictions", "embeddings"):
        held = place.rows(table, scratch)
        keys = [(row["uri"], row["version"]) for row in held]
        assert len(keys) == len(set(keys)), "an image stands twice"
        assert set(keys) - now, "what was changed or deleted keeps its rows"
        rows = [row for row in held if (row["uri"], row["version"]) in now]
        fresh = place.rows(table, scratch, "fresh")
        assert len(rows) == len(fresh) == len(now) - 1
        for row, other in zip(rows, fresh, strict=True):
            same = {"uri", "version", "sha256", "width", "height", "class_id", "label"} & row.keys()
            assert {name: row[name] for name in same} == {name: other[name] for name in same}
            if table == "embeddings":
                assert row["embedding"] == pytest.approx(other["embedding"], abs=1e-5)
            else:
                assert [each["score"] for each in row["top_k"]] == pytest.approx(
                    [each["score"] for each in other["top_k"]], abs=1e-5
                )
    failures = [row for row in place.rows("failures", scratch) if not row["retryable"]]
    broken = [(row["uri"], row["version"], row["error"], row["attempt"]) for row in failures]
    (other,) = place.rows("failures", scratch, "fresh")
    assert broken == [(other["uri"], other["version"], other["error"], 1)]


def require_newest_by_the_query_of_the_docs(place: Place, scratch: Path) -> None:
    found = re.search(r"```sql\n(-- DuckDB.+?)```", TABLES.read_text(encoding="utf-8"), re.DOTALL)
    assert found, "TABLES has no query for DuckDB"
    now = place.now()
    listing = scratch / "now.txt"
    listing.write_text("".join(f"{uri}\n" for uri, _ in sorted(now)), encoding="utf-8")
    query = found[1].replace("'catalog/", f"'{place.copy(scratch, 'out')}/").replace("'now.txt'", f"'{listing}'")
    create, exists = query.split(";")[:2]
    with duckdb.connect() as connection:
        connection.execute(create)
        keys = connection.execute("select uri, version from newest").fetchall()
        latest = {row["uri"]: row["version"] for row in place.rows("predictions", scratch)}  # by URI, then by version
        assert sorted(keys) == sorted(latest.items())
        there = connection.execute(f"select uri, version from ({exists})").fetchall()
        assert sorted(there) == sorted(key for key in now if not key[0].endswith("broken.jpg"))
