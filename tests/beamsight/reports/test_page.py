"""What a page tells of a night is what the tables and the run reports hold, on a disk and on gs://."""

from __future__ import annotations

from collections import Counter
from datetime import date, datetime, timedelta, timezone
from pathlib import Path

import nights
import pytest
import tables
from gcs_server import Bucket
from nights import DAY, Nights

from beamsight.reports import make, page, runs, vectors
from beamsight.reports.page import Page
from runners.cli import app, codes
from transforms.errors import UsageError
from transforms.storage import files


@pytest.fixture(params=["disk", "gs"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Path | Bucket:
    if request.param == "disk":
        return tmp_path
    bucket: Bucket = request.getfixturevalue("bucket")
    return bucket


def begun(place: Path | Bucket) -> Nights:
    root = f"gs://{place.name}" if isinstance(place, Bucket) else str(place)
    return Nights(f"{root}/out", f"{root}/photos")


def read(made: Nights, day: date | None = None, run_id: str | None = None) -> Page:
    return page.read(made.output, runs.select(made.output, day, run_id), run_id, datetime.now(timezone.utc))


def test_a_night_is_told_as_the_tables_hold_it(place: Path | Bucket, tmp_path: Path) -> None:
    made = begun(place)
    nights.fortnight(made, per_night=5)
    images = nights.pictures(range(30))
    images |= {"copy.jpg": images["00003.jpg"], "text.jpg": b"no picture", "cut.jpg": images["00004.jpg"][:900]}
    report = made.run(images, seconds=11)
    told = read(made)

    assert (told.totals.new, told.totals.done, told.totals.failed) == (33, 31, 2)
    assert told.totals.skipped == made.done - 33 > 0
    assert told.totals.rate == pytest.approx(3)
    assert set(told.totals.steps) == set(report["seconds_by_step"])

    output = place if isinstance(place, Bucket) else place / "out"
    rows = [row for row in tables.rows(output, "predictions", tmp_path) if row["uri"].rpartition("/")[2] in images]
    counted = Counter(row["label"] for row in rows)
    assert told.predictions is not None
    assert {told.predictions.tally.labels[key]: n for key, n in told.predictions.tally.classes.items()} == counted
    assert told.predictions.tally.mean == pytest.approx(sum(row["score"] for row in rows) / len(rows), rel=1e-6)
    assert told.predictions.table == made.models[0].recipe.table

    assert {(reason.stage, reason.error): reason.count for reason in told.reasons} == {
        ("decode", "NotAnImage"): 1,
        ("decode", "Truncated"): 1,
    }
    assert told.reasons[0].examples[0].uri.startswith(made.photos)

    assert [copies.uris for copies in told.exact.groups] == [(f"{made.photos}/00003.jpg", f"{made.photos}/copy.jpg")]
    assert (told.exact.images, told.exact.copies) == (31, 1)
    by_key = {(row["uri"], row["version"]): row for row in rows}
    assert len(told.samples.cards) == 12
    for card in told.samples.cards:
        wanted = [top["label"] for top in by_key[card.image.key]["top_k"]]
        assert [found.label for found in card.best] == wanted
        assert len(card.neighbours) == 4
        assert card.image.uri not in [other.image.uri for other in card.neighbours]


def test_nights_before(tmp_path: Path) -> None:
    made = begun(tmp_path)
    nights.fortnight(made, per_night=9)
    made.run(nights.pictures(range(20)))
    told = read(made)
    days = told.days
    assert list(days) == [DAY - timedelta(days=back) for back in reversed(range(14))]
    assert [day for day, total in days.items() if total is None] == [DAY - timedelta(days=5)]
    killed = days[DAY - timedelta(days=8)]
    assert killed is not None
    assert (killed.unfinished, killed.new) == (1, 8)  # one unit of two was written before it was killed
    assert [finding.text for finding in told.findings] == ["No run started on 15 November."]
    assert told.predictions is not None
    shares = told.predictions.rows[0].shares
    assert len(shares) == 14
    assert shares[-1] == told.predictions.rows[0].share
    assert shares[-6] is None


def test_runs_of_one_night(tmp_path: Path) -> None:
    made = begun(tmp_path)
    made.run(nights.pictures(range(10)), hour=1, state="failed", error="the disk is full", unit_size=5)
    made.run(nights.pictures(range(10, 18)), hour=3)
    both = read(made)
    assert (both.totals.runs, both.totals.new, both.totals.unfinished) == (2, 13, 1)
    assert both.predictions is not None
    assert both.predictions.tally.rows == 13
    assert both.findings[0].text == f"Run {made.runs[0]} failed: the disk is full."

    second = read(made, run_id=made.runs[1])
    assert second.predictions is not None
    assert (second.totals.new, second.predictions.tally.rows, second.samples.count, second.exact.images) == (8, 8, 8, 8)
    first = read(made, run_id=made.runs[0])
    assert (first.totals.new, first.samples.count) == (5, 5)
    assert [table.rows for table in first.tables] == [5, 5]


def test_several_recipes(tmp_path: Path) -> None:
    made = begun(tmp_path)
    made.run(nights.pictures(range(12)), unit_size=4)
    made.run(nights.pictures(range(20, 24)), hour=4, models=[nights.classifier("other"), nights.embedder("third")])
    told = read(made)
    assert told.predictions is not None
    assert told.predictions.table == made.models[0].recipe.table
    assert told.predictions.tally.rows == 12
    assert told.embeddings == made.models[1].recipe.table
    assert sorted(table.rows for table in told.tables) == [4, 4, 12, 12]


def test_vectors_and_predictions_of_two_runs_belong_together(tmp_path: Path) -> None:
    """A model that is added later has units of other names; the classes of its images are found all the same."""
    made = begun(tmp_path)
    made.run(nights.pictures(range(12)), models=[nights.classifier()])
    without = read(made)
    assert without.samples.map is None
    assert without.embeddings is None
    assert all(card.best and not card.neighbours for card in without.samples.cards)
    made.run(nights.pictures(range(12)), hour=3, models=[nights.embedder()], unit_size=5)
    told = read(made)
    assert all(card.best and len(card.neighbours) == 4 for card in told.samples.cards)
    assert told.samples.map is not None
    alone = read(made, run_id=made.runs[1])
    assert alone.predictions is None
    assert alone.samples.map is not None
    assert alone.samples.map.layers == ()
    assert alone.samples.map.other is not None
    assert len(alone.samples.map.other.points) == 12


def test_a_night_with_nothing_new(tmp_path: Path) -> None:
    made = begun(tmp_path)
    made.run(nights.pictures(range(12)), DAY - timedelta(days=1))
    made.run({})
    told = read(made)
    assert (told.totals.new, told.totals.skipped, told.totals.rate) == (0, 12, None)
    assert [finding.text for finding in told.findings] == ["No new images: 12 listed images skipped."]
    assert (told.predictions, told.embeddings, told.samples.cards, told.exact.images) == (None, None, (), 0)


def test_what_has_changed_or_gone_is_not_shown(tmp_path: Path) -> None:
    made = begun(tmp_path)
    made.run(nights.pictures(range(6)))
    (tmp_path / "photos" / "00001.jpg").unlink()
    (tmp_path / "photos" / "00002.jpg").write_bytes(nights.pictures([77])["00077.jpg"])
    told = read(made)
    assert {card.image.uri.rpartition("/")[2] for card in told.samples.cards} == {
        "00000.jpg",
        "00003.jpg",
        "00004.jpg",
        "00005.jpg",
    }
    assert told.samples.missing == {"NotFound": 1, "Changed": 1}


def test_a_store_that_does_not_answer_is_not_asked_for_all(bucket: Bucket, quick_retries: files.FileSystem) -> None:
    made = begun(bucket)
    made.run(nights.pictures(range(40)))
    bucket.gcs.faults = lambda _, path: 503 if "photos" in path else None
    told = read(made)
    assert told.samples.cards == ()
    assert told.samples.missing["Unreadable"] <= 10  # 8 at once, and 2 that were begun before the third was known
    assert told.samples.missing["not tried"] >= 30
    assert told.totals.done == 40


def test_a_sample_is_read_from_few_files(bucket: Bucket) -> None:
    made = begun(bucket)
    made.run(nights.pictures(range(40)), unit_size=5)
    uris = page.parts.list_day(made.output, made.models[1].recipe.table, DAY)
    assert len(uris) == 8
    bucket.gcs.reset()
    sample = vectors.sample(uris, limit=8)
    assert len(sample.images) == 8
    read_from = {path.partition("?")[0].rpartition("/")[2] for path in bucket.gcs.media()}
    assert len(read_from) == 2
    assert vectors.sample(uris, limit=8).images == sample.images


def test_where_the_page_goes(place: Path | Bucket) -> None:
    made = begun(place)
    made.run(nights.pictures(range(3)))
    usual = make.make(made.output)
    assert usual == f"{made.output}/reports/{DAY}.html"
    one = make.make(made.output, run_id=made.runs[0])
    assert one == f"{made.output}/reports/{made.runs[0]}.html"
    other = make.make(made.output, day=DAY, to=f"{made.photos}/page.html")
    pages = [files.read(uri)[0].decode() for uri in (usual, one, other)]
    assert all(page.startswith("<!doctype html>") and page.endswith("</html>\n") for page in pages)
    assert made.runs[0] in pages[1]
    if isinstance(place, Bucket):  # a browser shows it, and does not offer to keep it
        stored = place.gcs.storage.objects[place.name][f"out/reports/{DAY}.html"]
        assert stored["contentType"].startswith("text/html")
    again = make.make(made.output)
    text = files.read(again)[0].decode()
    assert text.partition("<footer>")[0] == pages[0].partition("<footer>")[0]


def test_after_a_run_by_the_command(
    place: Path | Bucket, tiny_classifier: str, tiny_embedder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    made = begun(place)
    for name, data in (nights.pictures(range(6)) | {"text.jpg": b"no picture"}).items():
        files.write(f"{made.photos}/{name}", data)
    models = ["--classifier", tiny_classifier, "--embedder", tiny_embedder]
    run = ["run", "--images", f"{made.photos}/", "--output", made.output, "--max-failures", "1", *models]
    assert app.main(run) == codes.DONE
    assert app.main(run) == codes.DONE
    capsys.readouterr()
    assert app.main(["report", made.output]) == codes.DONE
    uri = capsys.readouterr().out.strip()
    told = read(made)
    assert uri == f"{made.output}/reports/{told.selection.day}.html"
    assert (told.totals.runs, told.totals.new, told.totals.done, told.totals.failed) == (2, 7, 6, 1)
    assert (told.totals.already_done, told.totals.failed_before) == (6, 1)
    assert {len(card.best) for card in told.samples.cards} == {5}
    assert len(told.samples.cards) == 6
    assert {"fetch", "decode", "classify", "embed", "write"} <= set(told.totals.steps)
    assert "6 images succeeded, 1 failed, 7 skipped" in files.read(uri)[0].decode()


def test_what_there_is_no_report_of(tmp_path: Path) -> None:
    made = begun(tmp_path)
    with pytest.raises(UsageError, match="no run report"):
        runs.select(made.output)
    made.run(nights.pictures(range(2)))
    with pytest.raises(UsageError, match=r"--date 2026-11-18: no run.*2026-11-20"):
        runs.select(made.output, DAY - timedelta(days=2))
    with pytest.raises(UsageError, match=rf"--run nine.*{made.runs[0]}"):
        runs.select(made.output, run_id="nine")


def test_a_damaged_run_report_does_not_stop_the_others(tmp_path: Path) -> None:
    made = begun(tmp_path)
    made.run(nights.pictures(range(2)))
    (tmp_path / "out" / "runs" / "20261119T010000Z-abcdef.json").write_text("{")
    (tmp_path / "out" / "runs" / "notes.json").write_text("{}")
    told = read(made)
    assert told.totals.new == 2
    assert sorted(finding.text.split(":")[1].strip() for finding in told.findings) == [
        "20261119T010000Z-abcdef.json",
        "notes.json",
    ]
